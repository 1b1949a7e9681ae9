//! A whole checkpoint to 4 bits, as its plan says.
//!
//! The length of a quant state depends, under double quantization, on the digits of the mean of its
//! weight's absmax values, and the offsets of all later tensors depend on that length. So the source
//! is read twice: once for absmax values alone, of which only the mean is kept; then the layout is
//! fixed; then weights are quantized chunk by chunk to their final offsets. Memory holds the chunks
//! in flight and the absmax values of the weights they belong to, however large the checkpoint is.

use std::path::Path;

use super::buffers::BufferPool;
use super::copy_tensor::CopyWork;
use super::element_stream::ElementStream;
use super::entries::Entry;
use super::header::quoted;
use super::layout::{Layout, LayoutOptions, Unit};
use super::output::{OutputDirectory, SideContent, SideFile, side_files};
use super::progress::{Phase, ProgressFn, SaveOptions, SaveReport};
use super::quantize_weight::{Gather, WeightWork};
use super::reader::Checkpoint;
use super::stage::{Item, Stages};
use super::writer::CheckpointWriter;
use crate::context::Context;
use crate::error::{Result, err};
use crate::plan::{Action, Plan, PlanEntry};
use crate::quant::QuantSpec;

/// What becomes of one tensor, and where it stands in the layout.
struct Work<'a> {
    kind: Kind<'a>,
    unit: usize,
    /// Position of a copy among the unit's tensors.
    position: usize,
}

enum Kind<'a> {
    Quantize(WeightWork<'a>),
    Copy(CopyWork<'a>),
}

impl Work<'_> {
    fn item(&self) -> Item<'_> {
        match &self.kind {
            Kind::Quantize(w) => Item::new(w.name, w.stream.source_bytes(), w.numel(), w.chunk()),
            Kind::Copy(c) => {
                let (length, chunk) = c.length();
                Item::new(c.name, c.source_bytes(), length, chunk)
            }
        }
    }

    fn weight(&self) -> Option<&WeightWork<'_>> {
        match &self.kind {
            Kind::Quantize(w) => Some(w),
            Kind::Copy(_) => None,
        }
    }
}

/// Writes to `output` what `plan` makes of `checkpoint`. The plan must name every tensor of the
/// checkpoint exactly as it is stored. On any error, and when `progress` cancels, nothing remains.
pub fn quantize_checkpoint(
    context: &Context,
    spec: &QuantSpec,
    checkpoint: &Checkpoint,
    plan: &Plan,
    output: &Path,
    options: &SaveOptions,
    progress: &mut ProgressFn<'_>,
) -> Result<SaveReport> {
    let output = OutputDirectory::prepare(output, Some(checkpoint.directory()), options.force)?;
    let works = collect_works(spec, checkpoint, plan)?;
    let items: Vec<Item<'_>> = works.iter().map(Work::item).collect();
    let weights: Vec<&WeightWork<'_>> = works.iter().filter_map(Work::weight).collect();
    let scanned: &[&WeightWork<'_>] = if spec.double_quant { &weights } else { &[] };
    let scan_bytes: u64 = scanned.iter().map(|w| w.stream.source_bytes()).sum();
    let total = scan_bytes + items.iter().map(|i| i.bytes).sum::<u64>();
    let mut stages = Stages { context, progress, done: 0, total };
    let pool = BufferPool::default();

    let scan_items: Vec<Item<'_>> =
        scanned.iter().map(|w| Item::new(w.name, w.stream.source_bytes(), w.numel(), w.chunk())).collect();
    stages.run(
        Phase::Scan,
        &scan_items,
        |item| scanned[item].gather(),
        |item, chunk, gather| pool.with(|buffers| scanned[item].scan(spec, chunk, gather, buffers)),
    )?;

    let layout_options = LayoutOptions { max_shard_size: options.max_shard_size, ..LayoutOptions::default() };
    let layout = Layout::new(&units_of(&works, spec)?, &layout_options)?;
    let writer = CheckpointWriter::create(output, &layout)?;
    stages.run(
        Phase::Write,
        &items,
        |item| works[item].weight().map(WeightWork::gather).transpose(),
        |item, chunk, gather: &Option<Gather>| {
            let Work { kind, unit, position } = &works[item];
            let places = layout.places(*unit);
            pool.with(|buffers| match (kind, gather) {
                (Kind::Quantize(w), Some(gather)) => {
                    w.write((context, spec), chunk, gather, buffers, (&writer, places))
                }
                (Kind::Copy(c), _) => c.write(chunk, buffers, &writer, &places[*position]),
                (Kind::Quantize(_), None) => Ok(()),
            })
        },
    )?;
    checkpoint.check_unchanged()?;
    finish(checkpoint, &layout, writer, options)
}

/// Publishes the written tensors with the files beside them.
pub(super) fn finish(
    checkpoint: &Checkpoint,
    layout: &Layout,
    writer: CheckpointWriter,
    options: &SaveOptions,
) -> Result<SaveReport> {
    let mut beside = if options.copy_side_files { side_files(checkpoint.directory())? } else { Vec::new() };
    if let Some(config) = &options.config {
        let content = SideContent::Text(config.clone());
        beside.push(SideFile { name: "config.json".to_owned(), content });
    }
    let files = writer.finish(&beside)?;
    Ok(SaveReport { files, shards: layout.shards.len(), total_size: layout.total_size })
}

/// One work per stored tensor, in natural order; each tensor of the checkpoint meets its entry of
/// the plan.
fn collect_works<'a>(spec: &QuantSpec, checkpoint: &'a Checkpoint, plan: &Plan) -> Result<Vec<Work<'a>>> {
    let planned = match_plan(checkpoint, plan)?;
    let mut works = Vec::with_capacity(planned.len());
    for (unit, entry) in checkpoint.entries().iter().enumerate() {
        // A weight that is quantized already is copied, its parts kept together.
        let indices: Vec<usize> = match entry {
            Entry::Tensor(index) => vec![*index],
            Entry::Weight(weight) => weight.parts.iter().map(|&(_, index)| index).collect(),
        };
        for (position, &index) in indices.iter().enumerate() {
            let kind = match planned[index].action {
                Action::Keep { dtype } => Kind::Copy(CopyWork::new(checkpoint, index, dtype)?),
                Action::Quantize { .. } if indices.len() > 1 => {
                    return Err(err!(
                        InvalidArgument,
                        "tensor {}: is part of a weight that is quantized already",
                        quoted(&checkpoint.tensors()[index].name)
                    ));
                }
                Action::Quantize { dtype, transpose } => {
                    let stream = ElementStream::new(checkpoint, index, dtype, transpose)?;
                    Kind::Quantize(WeightWork::new(&checkpoint.tensors()[index].name, stream, spec)?)
                }
            };
            works.push(Work { kind, unit, position });
        }
    }
    Ok(works)
}

/// The plan's entries in the order of the checkpoint's tensors.
pub(super) fn match_plan<'p>(checkpoint: &Checkpoint, plan: &'p Plan) -> Result<Vec<&'p PlanEntry>> {
    let mut planned: Vec<Option<&PlanEntry>> = vec![None; checkpoint.tensors().len()];
    for entry in &plan.entries {
        let name = &entry.source.name;
        let index = checkpoint
            .find(name)
            .ok_or_else(|| err!(InvalidArgument, "plan: tensor {}: not in the checkpoint", quoted(name)))?;
        let tensor = &checkpoint.tensors()[index];
        if (tensor.dtype, tensor.shape) != (entry.source.dtype, entry.source.shape) {
            return Err(err!(
                InvalidArgument,
                "plan: tensor {}: is {} {} in the checkpoint, but {} {} in the plan",
                quoted(name),
                tensor.dtype.safetensors_name(),
                tensor.shape,
                entry.source.dtype.safetensors_name(),
                entry.source.shape
            ));
        }
        if planned[index].replace(entry).is_some() {
            return Err(err!(InvalidArgument, "plan: tensor {}: stands twice", quoted(name)));
        }
    }
    planned
        .into_iter()
        .zip(checkpoint.tensors())
        .map(|(entry, tensor)| {
            entry.ok_or_else(|| {
                err!(InvalidArgument, "plan: tensor {} of the checkpoint is missing", quoted(&tensor.name))
            })
        })
        .collect()
}

/// The layout's units: one per weight or plain tensor, the copied parts of one weight in one.
fn units_of(works: &[Work<'_>], spec: &QuantSpec) -> Result<Vec<Unit>> {
    let mut units: Vec<Unit> = Vec::new();
    for work in works {
        match (&work.kind, work.position) {
            (Kind::Quantize(w), _) => units.push(w.unit(spec)?),
            (Kind::Copy(c), 0) => units.push(c.unit()),
            (Kind::Copy(c), _) => {
                if let Some(unit) = units.last_mut() {
                    if unit.tensors.len() == 1 {
                        // Packed codes after all: two parameters per byte.
                        unit.parameters = unit.tensors[0].byte_len()? * 2;
                    }
                    unit.tensors.push(c.tensor());
                }
            }
        }
    }
    Ok(units)
}

//! A whole checkpoint to 4 bits, as its plan says.
//!
//! The length of a quant state depends, under double quantization, on the digits of the mean of its
//! weight's absmax values, and the offsets of all later tensors depend on that length. So the source
//! is read twice: once for absmax values alone, of which only the mean is kept; then the layout is
//! fixed; then weights are quantized chunk by chunk to their final offsets. Memory holds the chunks
//! in flight and the absmax values of the weights they belong to, however large the checkpoint is.

use std::path::Path;

use super::budget::Budget;
use super::buffers::{BufferPool, BufferSizes};
use super::copy_tensor::CopyWork;
use super::element_stream::ElementStream;
use super::entries::Entry;
use super::finish::{copies, finish, finish_part};
use super::header::quoted;
use super::job::{JobDirectory, JobMode, Started};
use super::layout::{Layout, LayoutOptions, Unit};
use super::progress::{Phase, ProgressFn, SaveOptions, SaveReport};
use super::quantize_weight::{Gather, WeightWork};
use super::reader::Checkpoint;
use super::stage::{Item, Stages};
use super::writer::CheckpointWriter;
use crate::context::Context;
use crate::error::{Result, err};
use crate::log::{Level, log};
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
    fn item(&self, spec: &QuantSpec) -> Item<'_> {
        match &self.kind {
            Kind::Quantize(w) => w.item(spec),
            Kind::Copy(c) => {
                let (length, chunk) = c.length();
                Item::new(c.name, c.source_bytes(), length, chunk)
            }
        }
    }

    fn buffer_sizes(&self) -> BufferSizes {
        match &self.kind {
            Kind::Quantize(w) => w.buffer_sizes(),
            Kind::Copy(c) => c.buffer_sizes(),
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
/// checkpoint exactly as it is stored. On any error, and when `progress` cancels, what remains is
/// what [`JobMode`] says: by default nothing.
pub fn quantize_checkpoint(
    context: &Context,
    spec: &QuantSpec,
    checkpoint: &Checkpoint,
    plan: &Plan,
    output: &Path,
    options: &SaveOptions,
    progress: &mut ProgressFn<'_>,
) -> Result<SaveReport> {
    let directory = JobDirectory::enter(output, spec, checkpoint, plan, options)?;
    let works = collect_works(spec, checkpoint, plan)?;
    let weights: Vec<&WeightWork<'_>> = works.iter().filter_map(Work::weight).collect();
    let known = directory.offsets(weights.len())?;
    let scanned: &[&WeightWork<'_>] = if spec.double_quant && known.is_none() { &weights } else { &[] };
    for (weight, &bits) in weights.iter().zip(known.iter().flatten()) {
        weight.set_offset(bits);
    }
    let budget = budget(&works, spec, options.memory, context.threads())?;
    log(Level::Debug, || {
        format!(
            "{}: {} weights to quantize, {} of them read twice for double quantization, {} at work at a time",
            output.display(),
            weights.len(),
            scanned.len(),
            budget.tasks.min(context.threads())
        )
    });
    let pool = BufferPool::new(budget.tasks);
    let scan_bytes: u64 = scanned.iter().map(|w| w.stream.source_bytes()).sum();
    let total = scan_bytes + works.iter().map(|w| w.item(spec).bytes).sum::<u64>();
    let mut stages = Stages { context, progress, done: 0, total, held_limit: budget.held };

    let scan_items: Vec<Item<'_>> = scanned.iter().map(|w| w.item(spec)).collect();
    stages.run(
        Phase::Scan,
        &scan_items,
        |item| scanned[item].gather(),
        |item, chunk, gather| pool.with(|buffers| scanned[item].scan(spec, chunk, gather, buffers)),
    )?;

    let layout_options = LayoutOptions { max_shard_size: options.max_shard_size, ..LayoutOptions::default() };
    let layout = Layout::new(&units_of(&works, spec)?, &layout_options)?;
    let offsets: Option<Vec<u32>> = spec.double_quant.then(|| weights.iter().map(|w| w.offset()).collect());
    let Started { writer, resumed } = directory.start(&layout, offsets.as_deref(), options.job)?;
    if resumed > 0 {
        log(Level::Info, || format!("{}: resumed: {resumed} files were finished before", output.display()));
    }
    let is_wanted = |w: &&Work<'_>| writer.writes(layout.places(w.unit)[0].shard);
    let wanted: Vec<&Work<'_>> = works.iter().filter(is_wanted).collect();
    write_works(context, spec, &wanted, &layout, &writer, &pool, stages)?;
    checkpoint.check_unchanged()?;
    let report = match options.job {
        JobMode::Prepare => finish_part(&layout, writer, &[])?,
        JobMode::Part(part) if !part.is_first() => finish_part(&layout, writer, &[])?,
        JobMode::Part(_) => finish_part(&layout, writer, &copies(checkpoint, options)?)?,
        _ => finish(checkpoint, &layout, writer, options)?,
    };
    Ok(SaveReport { resumed, ..report })
}

/// The second pass: converts and writes.
fn write_works(
    context: &Context,
    spec: &QuantSpec,
    works: &[&Work<'_>],
    layout: &Layout,
    writer: &CheckpointWriter,
    pool: &BufferPool,
    mut stages: Stages<'_, '_, '_>,
) -> Result<()> {
    let items: Vec<Item<'_>> = works.iter().map(|w| w.item(spec)).collect();
    stages.total = stages.done + items.iter().map(|i| i.bytes).sum::<u64>();
    stages.run(
        Phase::Write,
        &items,
        |item| works[item].weight().map(WeightWork::gather).transpose(),
        |item, chunk, gather: &Option<Gather>| {
            let Work { kind, unit, position } = works[item];
            let places = layout.places(*unit);
            pool.with(|buffers| match (kind, gather) {
                (Kind::Quantize(w), Some(gather)) => {
                    w.write((context, spec), chunk, gather, buffers, (writer, places))
                }
                (Kind::Copy(c), _) => c.write(chunk, buffers, writer, &places[*position]),
                (Kind::Quantize(_), None) => Ok(()),
            })
        },
    )
}

/// Divides the memory given among what the works need.
fn budget(works: &[Work<'_>], spec: &QuantSpec, memory: Option<u64>, threads: usize) -> Result<Budget> {
    let task = works.iter().map(Work::buffer_sizes).fold(BufferSizes::default(), BufferSizes::max);
    let held = works.iter().map(|w| w.item(spec)).max_by_key(|i| i.held);
    Budget::new(memory, threads, task, held.map_or(("", 0), |i| (i.name, i.held)))
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

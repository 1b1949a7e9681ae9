//! Whether a quantized checkpoint is what a plan makes of its source, and how far its weights are
//! from the source's.

use super::cast::{StoredFloat, cast};
use super::element_stream::ElementStream;
use super::header::quoted;
use super::quantize::match_plan;
use super::reader::Checkpoint;
use crate::context::Context;
use crate::dtype::{DType, FloatType};
use crate::error::{Error, Result};
use crate::memory::AlignedBytes;
use crate::plan::{Action, Plan, PlanEntry};
use crate::quant::{QuantError, measure};
use crate::tensor::TensorRef;

/// What was found out about one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorCheck {
    /// Its name.
    pub name: String,
    /// What was found.
    pub verdict: Verdict,
}

/// What was found out about a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A 4-bit weight as planned, and how far it is from the source.
    Converted(QuantError),
    /// A plain tensor as planned, with the source's values in the planned type.
    Kept,
    /// Planned, but not there.
    Missing,
    /// There, but not planned.
    Unexpected,
    /// There, but not as planned; in words.
    Different(String),
}

impl Verdict {
    /// Whether the tensor is as planned.
    pub fn is_as_planned(&self) -> bool {
        matches!(self, Verdict::Converted(_) | Verdict::Kept)
    }
}

/// Checks `quantized` against what `plan` makes of `source`: one check per tensor of the source in
/// natural order, then one per entry that nobody planned. Each is made when it is asked for, and
/// holds one tensor of the source in memory. Files that cannot be read are errors.
pub fn verify<'a>(
    context: &'a Context,
    source: &'a Checkpoint,
    quantized: &'a Checkpoint,
    plan: &'a Plan,
) -> Result<impl Iterator<Item = Result<TensorCheck>> + 'a> {
    let planned = match_plan(source, plan)?;
    let checks = planned.into_iter().enumerate().map(move |(index, entry)| {
        let verdict = match entry.action {
            Action::Quantize { dtype, transpose } => {
                let stream = ElementStream::new(source, index, dtype, transpose)?;
                check_weight(context, &entry.source.name, &stream, quantized)
            }
            Action::Keep { dtype } => check_plain(source, index, dtype, entry, quantized),
        };
        Ok(TensorCheck { name: entry.source.name.clone(), verdict: verdict? })
    });
    let unexpected = quantized.entries().iter().filter_map(|entry| {
        let name = quantized.entry_name(entry);
        let known = source.find(name).is_some();
        (!known).then(|| Ok(TensorCheck { name: name.to_owned(), verdict: Verdict::Unexpected }))
    });
    Ok(checks.chain(unexpected))
}

fn check_weight(
    context: &Context,
    name: &str,
    stream: &ElementStream<'_>,
    quantized: &Checkpoint,
) -> Result<Verdict> {
    let entry = match quantized.weight_parts(name) {
        Ok(entry) => entry,
        Err(Error::NotFound(_)) => return Ok(Verdict::Missing),
        Err(error) => return Ok(Verdict::Different(error.to_string())),
    };
    let weight = match quantized.weight_copied(entry) {
        Ok(weight) => weight,
        Err(error @ Error::Format(_)) => return Ok(Verdict::Different(error.to_string())),
        Err(error) => return Err(error),
    };
    let (shape, dtype) = (stream.shape(), stream.dtype());
    if (weight.shape(), weight.dtype()) != (shape, dtype) {
        return Ok(Verdict::Different(format!(
            "quant state says {} {}, the plan {} {shape}",
            weight.dtype().torch_name(),
            weight.shape(),
            dtype.torch_name()
        )));
    }
    let mut values = AlignedBytes::zeroed_u64(shape.numel() * dtype.size() as u64)?;
    stream.read(0, values.as_mut_slice(), &mut Default::default(), &mut Default::default())?;
    let values = TensorRef::from_bytes(values.as_slice(), dtype.into(), shape)?;
    Ok(Verdict::Converted(measure(context, values, &weight)?))
}

fn check_plain(
    source: &Checkpoint,
    index: usize,
    dtype: DType,
    entry: &PlanEntry,
    quantized: &Checkpoint,
) -> Result<Verdict> {
    let name = &entry.source.name;
    let Some(found) = quantized.find(name) else { return Ok(Verdict::Missing) };
    if quantized.weight_parts(name).is_ok() && source.weight_parts(name).is_err() {
        return Ok(Verdict::Different("is a 4-bit weight, but was to stay plain".to_owned()));
    }
    let tensor = &quantized.tensors()[found];
    if (tensor.dtype, tensor.shape) != (dtype, entry.source.shape) {
        return Ok(Verdict::Different(format!(
            "is {} {}, but was to be {} {}",
            tensor.dtype.safetensors_name(),
            tensor.shape,
            dtype.safetensors_name(),
            entry.source.shape
        )));
    }
    let conversion = match (StoredFloat::of(entry.source.dtype), dtype.float()) {
        _ if entry.source.dtype == dtype => None,
        (Some(from), Some(to)) => Some((from, to)),
        _ => {
            return Ok(Verdict::Different(format!(
                "tensor {}: {} cannot have become {}",
                quoted(name),
                entry.source.dtype.safetensors_name(),
                dtype.safetensors_name()
            )));
        }
    };
    match same_values(source, index, quantized, found, conversion)? {
        true => Ok(Verdict::Kept),
        false => Ok(Verdict::Different("its values are not the source's".to_owned())),
    }
}

fn same_values(
    source: &Checkpoint,
    index: usize,
    quantized: &Checkpoint,
    found: usize,
    conversion: Option<(StoredFloat, FloatType)>,
) -> Result<bool> {
    const CHUNK: u64 = 1 << 20;
    let (from_size, to_size) = conversion.map_or((1, 1), |(from, to)| (from.size(), to.size()));
    let count = source.tensors()[index].byte_len() / from_size as u64;
    let (mut stored, mut expected, mut actual) = (Vec::new(), Vec::new(), Vec::new());
    for start in (0..count).step_by(CHUNK as usize) {
        let len = CHUNK.min(count - start) as usize;
        stored.resize(len * from_size, 0);
        actual.resize(len * to_size, 0);
        source.read_at(index, start * from_size as u64, &mut stored)?;
        quantized.read_at(found, start * to_size as u64, &mut actual)?;
        let same = match conversion {
            None => stored == actual,
            Some((from, to)) => {
                expected.resize(len * to_size, 0);
                cast(&stored, from, &mut expected, to);
                expected == actual
            }
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

//! A whole 4-bit checkpoint back to floats, for converters and programs that know no 4-bit weights.

use std::path::Path;

use super::buffers::{BufferPool, Buffers};
use super::copy_tensor::CopyWork;
use super::entries::{Entry, WeightEntry};
use super::finish::finish;
use super::header::quoted;
use super::layout::{Layout, LayoutOptions, OutputTensor, Place, Unit};
use super::output::OutputDirectory;
use super::progress::{Phase, ProgressFn, SaveOptions, SaveReport};
use super::reader::Checkpoint;
use super::stage::{Item, Stages};
use super::writer::CheckpointWriter;
use crate::backend::DequantizeJob;
use crate::context::Context;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::shape::Shape;
use crate::weight::{MAX_STATE_BYTES, Weight, read_state};

/// Elements per task, unless a nested block reaches further.
const CHUNK: u64 = 1 << 20;

/// What to turn weights into.
pub struct DequantizeTarget<'a> {
    /// The type of the weights, and of the plain tensors of another 16-bit float type; 32-bit ones
    /// were kept so on purpose and stay. `None`: each weight in the type it was made from.
    pub dtype: Option<FloatType>,
    /// Whether the plain checkpoint stores the weight of this name as `[in, out]` (GPT-2's
    /// `Conv1D`), transposed to what a quant state says.
    pub is_transposed: &'a dyn Fn(&str) -> bool,
}

enum Work<'a> {
    Weight(WeightWork<'a>),
    Copy(CopyWork<'a>),
}

struct WeightWork<'a> {
    entry: &'a WeightEntry,
    /// As the quant state says.
    shape: Shape,
    dtype: FloatType,
    transpose: bool,
    chunk: u64,
    source_bytes: u64,
}

/// Writes `checkpoint` to `output` with its quantized weights as plain tensors of the same names.
/// On any error, and when `progress` cancels, nothing remains.
pub fn dequantize_checkpoint(
    context: &Context,
    checkpoint: &Checkpoint,
    target: &DequantizeTarget<'_>,
    output: &Path,
    options: &SaveOptions,
    progress: &mut ProgressFn<'_>,
) -> Result<SaveReport> {
    options.refuse_job("dequantizing")?;
    let output = OutputDirectory::prepare(output, Some(checkpoint.directory()), options.force)?;
    let works = collect_works(checkpoint, target)?;
    let items: Vec<Item<'_>> = works.iter().map(Work::item).collect();
    let units = works.iter().map(Work::unit).collect::<Result<Vec<Unit>>>()?;
    let layout_options = LayoutOptions { max_shard_size: options.max_shard_size, ..LayoutOptions::default() };
    let layout = Layout::new(&units, &layout_options)?;
    let writer = CheckpointWriter::create(output, &layout)?;
    let pool = BufferPool::new(usize::MAX);
    let total = items.iter().map(|i| i.bytes).sum();
    let mut stages = Stages { context, progress, done: 0, total, held_limit: u64::MAX };
    stages.run(
        Phase::Write,
        &items,
        |item| match &works[item] {
            Work::Weight(w) => checkpoint.weight_copied(w.entry).map(Some),
            Work::Copy(_) => Ok(None),
        },
        |item, chunk, weight| {
            let place = &layout.places(item)[0];
            pool.with(|buffers| match (&works[item], weight) {
                (Work::Weight(w), Some(weight)) => w.write(context, weight, chunk, buffers, (&writer, place)),
                (Work::Copy(c), _) => c.write(chunk, buffers, &writer, place),
                (Work::Weight(_), None) => Ok(()),
            })
        },
    )?;
    checkpoint.check_unchanged()?;
    finish(checkpoint, &layout, writer, options)
}

fn collect_works<'a>(checkpoint: &'a Checkpoint, target: &DequantizeTarget<'_>) -> Result<Vec<Work<'a>>> {
    let mut works = Vec::with_capacity(checkpoint.entries().len());
    for entry in checkpoint.entries() {
        works.push(match entry {
            Entry::Weight(entry) => Work::Weight(WeightWork::new(checkpoint, entry, target)?),
            Entry::Tensor(index) => {
                let stored = checkpoint.tensors()[*index].dtype;
                let dtype = match (target.dtype, stored) {
                    (Some(wanted), DType::F16 | DType::Bf16) => wanted.into(),
                    _ => stored,
                };
                Work::Copy(CopyWork::new(checkpoint, *index, dtype)?)
            }
        });
    }
    if !works.iter().any(|w| matches!(w, Work::Weight(_))) {
        return Err(err!(
            InvalidArgument,
            "{}: holds no bitsandbytes 4-bit weights: there is nothing to dequantize",
            checkpoint.directory().display()
        ));
    }
    Ok(works)
}

impl Work<'_> {
    fn item(&self) -> Item<'_> {
        match self {
            Work::Weight(w) => Item::new(&w.entry.name, w.source_bytes, w.length(), w.chunk),
            Work::Copy(c) => {
                let (length, chunk) = c.length();
                Item::new(c.name, c.source_bytes(), length, chunk)
            }
        }
    }

    fn unit(&self) -> Result<Unit> {
        match self {
            Work::Weight(w) => w.unit(),
            Work::Copy(c) => Ok(c.unit()),
        }
    }
}

impl<'a> WeightWork<'a> {
    fn new(
        checkpoint: &'a Checkpoint,
        entry: &'a WeightEntry,
        target: &DequantizeTarget<'_>,
    ) -> Result<Self> {
        let in_weight = |e: crate::Error| e.in_place(format_args!("weight {}", quoted(&entry.name)));
        let (codes, state) = match (entry.parts.first(), entry.parts.last()) {
            (Some(&(_, codes)), Some(&(_, state))) => (codes, state),
            _ => return Err(err!(InvalidState, "weight {}: has no parts", quoted(&entry.name))),
        };
        let len = checkpoint.tensors()[state].byte_len();
        if len > MAX_STATE_BYTES as u64 {
            return Err(in_weight(err!(
                Format,
                "quant_state: {len} bytes, at most {MAX_STATE_BYTES} are taken"
            )));
        }
        let mut text = vec![0; len as usize];
        checkpoint.read_at(state, 0, &mut text)?;
        let state = read_state(&text, entry.quant_type).map_err(in_weight)?;
        let shape = match &state.shape {
            Some(dims) => Shape::new(dims).map_err(in_weight)?,
            None => Shape::new(&[checkpoint.tensors()[codes].byte_len() * 2])?,
        };
        // Before space is reserved for what the quant state only claims.
        let packed = checkpoint.tensors()[codes].byte_len();
        if packed != shape.numel().div_ceil(2) {
            return Err(in_weight(err!(Format, "packed codes: {packed} bytes do not fit shape {shape}")));
        }
        let transpose = (target.is_transposed)(&entry.name);
        if transpose && shape.matrix().is_none() {
            return Err(in_weight(err!(ShapeMismatch, "shape {shape}: only a matrix can be transposed")));
        }
        // Parts must begin a nested block. Out-of-range sizes are refused when the weight is read.
        let reach = state.blocksize.min(4096) * state.nested_blocksize.unwrap_or(1).min(4096);
        let dtype = match target.dtype {
            Some(dtype) => dtype,
            None => FloatType::parse(&state.dtype).map_err(in_weight)?,
        };
        Ok(WeightWork {
            entry,
            shape,
            dtype,
            transpose,
            chunk: CHUNK.max(reach.next_power_of_two()),
            source_bytes: entry.parts.iter().map(|&(_, i)| checkpoint.tensors()[i].byte_len()).sum(),
        })
    }

    /// Elements that are divided into tasks. A transposed weight is one task.
    fn length(&self) -> u64 {
        if self.transpose { 1 } else { self.shape.numel() }
    }

    fn unit(&self) -> Result<Unit> {
        let shape = match (self.transpose, self.shape.matrix()) {
            (true, Some((rows, columns))) => Shape::new(&[columns, rows])?,
            _ => self.shape,
        };
        Ok(Unit::plain(OutputTensor { name: self.entry.name.clone(), dtype: self.dtype.into(), shape }))
    }

    fn write(
        &self,
        context: &Context,
        weight: &Weight,
        chunk: u64,
        buffers: &mut Buffers,
        (writer, place): (&CheckpointWriter, &Place),
    ) -> Result<()> {
        if weight.shape() != self.shape {
            return Err(err!(
                InvalidState,
                "weight {}: changed while it was being read",
                quoted(&self.entry.name)
            ));
        }
        let size = self.dtype.size();
        let (start, count) = match self.transpose {
            true => (0, self.shape.numel()),
            false => (chunk * self.chunk, self.chunk.min(self.shape.numel() - chunk * self.chunk)),
        };
        let values = buffers.values.bytes(count as usize * size)?;
        let job = DequantizeJob {
            weight: weight.kernel_ref().from_element(start),
            numel: count,
            output: values.as_mut_ptr(),
            output_type: self.dtype,
        };
        // SAFETY: the weight's parts were checked against its shape, `start + count` lies inside it,
        // and `values` has room for `count` elements.
        unsafe { context.host().dequantize_serial(&job) };
        match (self.transpose, self.shape.matrix()) {
            (true, Some((rows, columns))) => {
                let turned = buffers.source.bytes(values.len())?;
                match size {
                    2 => transpose::<2>(values, turned, rows as usize, columns as usize),
                    _ => transpose::<4>(values, turned, rows as usize, columns as usize),
                }
                writer.write(place, 0, turned)
            }
            _ => writer.write(place, start * size as u64, values),
        }
    }
}

/// Transposes a matrix of `N`-byte elements, tile by tile.
fn transpose<const N: usize>(matrix: &[u8], out: &mut [u8], rows: usize, columns: usize) {
    const TILE: usize = 32;
    let (matrix, out) = (matrix.as_chunks::<N>().0, out.as_chunks_mut::<N>().0);
    for row in (0..rows).step_by(TILE) {
        for column in (0..columns).step_by(TILE) {
            for r in row..rows.min(row + TILE) {
                for c in column..columns.min(column + TILE) {
                    out[c * rows + r] = matrix[r * columns + c];
                }
            }
        }
    }
}

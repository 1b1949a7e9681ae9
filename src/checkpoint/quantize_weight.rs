//! One weight on its way into the output: sizes, codes chunk by chunk, statistics at the end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::buffers::{Buffer, BufferSizes, Buffers};
use super::element_stream::ElementStream;
use super::header::quoted;
use super::layout::{OutputTensor, Place, Unit};
use super::stage::Item;
use super::writer::CheckpointWriter;
use crate::backend::QuantizeJob;
use crate::codebook::DYNAMIC_MAP;
use crate::context::Context;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::memory::AlignedBytes;
use crate::quant::{
    Geometry, NESTED_BLOCK_SIZE, QuantSpec, absmax_values, check_storage, double_quantize, torch_mean,
};
use crate::shape::Shape;
use crate::weight::{state_part_name, state_text};

/// Elements per task: the source, its codes and absmax fit in a core's cache. A multiple of every
/// block size.
const CHUNK: u64 = 1 << 18;
/// The same for a transposed source, where longer parts mean longer runs of each source row.
const STRIDED_CHUNK: u64 = 1 << 21;

/// A weight to be quantized.
pub(super) struct WeightWork<'a> {
    pub name: &'a str,
    pub stream: ElementStream<'a>,
    geometry: Geometry,
    /// `nested_offset`, as bits; set by the scan.
    offset: AtomicU32,
}

/// The absmax values of one weight, gathered from its chunks.
pub(super) struct Gather(Mutex<Gathered>);

struct Gathered {
    absmax: AlignedBytes,
    chunks_left: u64,
}

impl<'a> WeightWork<'a> {
    pub fn new(name: &'a str, stream: ElementStream<'a>, spec: &QuantSpec) -> Result<Self> {
        let geometry = Geometry { numel: stream.shape().numel(), block_size: spec.block_size };
        check_storage(spec, &geometry).map_err(|e| e.in_place(format_args!("tensor {}", quoted(name))))?;
        Ok(WeightWork { name, stream, geometry, offset: AtomicU32::new(0) })
    }

    /// Elements per task.
    pub fn chunk(&self) -> u64 {
        if self.stream.is_strided() { STRIDED_CHUNK } else { CHUNK }
    }

    /// Elements of the weight.
    fn numel(&self) -> u64 {
        self.geometry.numel
    }

    /// What a task needs.
    pub fn buffer_sizes(&self) -> BufferSizes {
        let count = self.chunk().min(self.geometry.numel);
        let (source, piece) = self.stream.buffer_bytes(count);
        BufferSizes {
            source,
            piece,
            values: count * self.stream.dtype().size() as u64,
            codes: count.div_ceil(2),
            absmax: self.blocks(count).next_multiple_of(16) * 4,
        }
    }

    fn blocks(&self, count: u64) -> u64 {
        count.div_ceil(self.geometry.block_size.get() as u64)
    }

    /// Bytes held from the first chunk to the last: the absmax values, and what is made of them.
    fn held_bytes(&self, spec: &QuantSpec) -> u64 {
        let blocks = self.geometry.blocks();
        let nested = if spec.double_quant { blocks + self.geometry.nested_blocks() * 8 } else { 0 };
        blocks * 4 + nested
    }

    /// The weight as work to be done, the same for both passes.
    pub fn item(&self, spec: &QuantSpec) -> Item<'_> {
        let item = Item::new(self.name, self.stream.source_bytes(), self.numel(), self.chunk());
        Item { held: self.held_bytes(spec), ..item }
    }

    /// `nested_offset`, as bits.
    pub fn offset(&self) -> u32 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Takes the offset from an earlier scan; writing checks it.
    pub fn set_offset(&self, bits: u32) {
        self.offset.store(bits, Ordering::Relaxed);
    }

    /// Room for the absmax values.
    pub fn gather(&self) -> Result<Gather> {
        let absmax = AlignedBytes::zeroed_u64(self.geometry.blocks() * 4)?;
        let chunks_left = self.geometry.numel.div_ceil(self.chunk()).max(1);
        Ok(Gather(Mutex::new(Gathered { absmax, chunks_left })))
    }

    /// The weight and its statistics as output tensors: codes first, then in bitsandbytes' order.
    pub fn unit(&self, spec: &QuantSpec) -> Result<Unit> {
        let storage = spec.storage;
        let packed = self.geometry.packed_bytes();
        let blocks = self.geometry.blocks();
        let state = self.state_text(spec).len() as u64;
        let mut tensors = Vec::new();
        let mut add = |part: &str, dtype: DType, dims: &[u64]| -> Result<()> {
            let dot = if part.is_empty() { "" } else { "." };
            let name = format!("{}{dot}{part}", self.name);
            tensors.push(OutputTensor { name, dtype, shape: Shape::new(dims)? });
            Ok(())
        };
        add("", storage.dtype(), &[packed / storage.size() as u64, 1])?;
        add("absmax", if spec.double_quant { DType::U8 } else { DType::F32 }, &[blocks])?;
        add("quant_map", DType::F32, &[16])?;
        if spec.double_quant {
            add("nested_absmax", DType::F32, &[self.geometry.nested_blocks()])?;
            add("nested_quant_map", DType::F32, &[DYNAMIC_MAP.len() as u64])?;
        }
        add(state_part_name(spec.quant_type), DType::U8, &[state])?;
        Ok(Unit { tensors, parameters: packed * 2 })
    }

    fn state_text(&self, spec: &QuantSpec) -> String {
        let offset = f32::from_bits(self.offset.load(Ordering::Relaxed));
        let nested = spec.double_quant.then(|| (NESTED_BLOCK_SIZE, FloatType::F32.torch_name(), offset));
        let shape = Some(self.stream.shape());
        state_text(spec.quant_type, spec.block_size, self.stream.dtype(), shape, nested)
    }

    /// First element and element count of a chunk.
    pub fn part(&self, chunk: u64) -> (u64, usize) {
        let start = chunk * self.chunk();
        (start, self.chunk().min(self.geometry.numel - start) as usize)
    }

    /// Reads a chunk for its absmax values; the last one to finish sets the offset.
    pub fn scan(&self, spec: &QuantSpec, chunk: u64, gather: &Gather, buffers: &mut Buffers) -> Result<()> {
        let (start, count) = self.part(chunk);
        let dtype = self.stream.dtype();
        let values = buffers.values.bytes(count * dtype.size())?;
        self.stream.read(start, values, &mut buffers.source, &mut buffers.piece)?;
        let absmax = buffers.absmax.floats(count.div_ceil(spec.block_size.get()))?;
        absmax_values(spec.rule, dtype, spec.block_size, values, absmax);
        gather.put(start >> spec.block_size.shift(), absmax, |all| {
            self.offset.store(torch_mean(all.as_f32_mut()).to_bits(), Ordering::Relaxed);
            Ok(())
        })
    }

    /// Reads a chunk and quantizes it: `codes` and `absmax` have its size.
    pub fn quantize_chunk(
        &self,
        (context, spec): (&Context, &QuantSpec),
        chunk: u64,
        (source, piece, values): (&mut Buffer, &mut Buffer, &mut Buffer),
        codes: &mut [u8],
        absmax: &mut [f32],
    ) -> Result<()> {
        let (start, count) = self.part(chunk);
        let dtype = self.stream.dtype();
        assert!(codes.len() == count.div_ceil(2) && absmax.len() == self.blocks(count as u64) as usize);
        let values = values.bytes(count * dtype.size())?;
        self.stream.read(start, values, source, piece)?;
        let job = QuantizeJob {
            source: values.as_ptr(),
            source_type: dtype,
            numel: count as u64,
            block_size: spec.block_size,
            quant_type: spec.quant_type,
            rule: spec.rule,
            codes: codes.as_mut_ptr(),
            absmax: absmax.as_mut_ptr(),
        };
        // SAFETY: all three hold `count` elements: `values` by its making, the others as asserted.
        unsafe { context.host().quantize_serial(&job) };
        Ok(())
    }

    /// Quantizes a chunk to its place in the output; the last one to finish writes the statistics.
    pub fn write(
        &self,
        (context, spec): (&Context, &QuantSpec),
        chunk: u64,
        gather: &Gather,
        buffers: &mut Buffers,
        (writer, places): (&CheckpointWriter, &[Place]),
    ) -> Result<()> {
        let (start, count) = self.part(chunk);
        let Buffers { source, piece, values, codes, absmax } = buffers;
        let codes = codes.bytes(count.div_ceil(2))?;
        let absmax = absmax.floats(count.div_ceil(spec.block_size.get()))?;
        self.quantize_chunk((context, spec), chunk, (source, piece, values), codes, absmax)?;
        writer.write(&places[0], start / 2, codes)?;
        gather.put(start >> spec.block_size.shift(), absmax, |all| {
            self.write_statistics(spec, all, writer, &places[1..])
        })
    }

    fn write_statistics(
        &self,
        spec: &QuantSpec,
        absmax: &mut AlignedBytes,
        writer: &CheckpointWriter,
        places: &[Place],
    ) -> Result<()> {
        let state = self.state_text(spec).into_bytes();
        let map = bytes_of(spec.quant_type.codebook());
        let mut parts: Vec<Vec<u8>> = Vec::new();
        if spec.double_quant {
            let double = double_quantize(spec.rule, absmax.as_f32_mut())?;
            if double.offset.to_bits() != self.offset.load(Ordering::Relaxed) {
                return Err(err!(
                    InvalidState,
                    "tensor {}: changed while it was being quantized",
                    quoted(self.name)
                ));
            }
            let dynamic_map = bytes_of(&DYNAMIC_MAP);
            writer.write(&places[0], 0, double.codes.as_slice())?;
            parts.extend([map, double.nested_absmax.as_slice().to_vec(), dynamic_map, state]);
        } else {
            writer.write(&places[0], 0, absmax.as_slice())?;
            parts.extend([map, state]);
        }
        places[1..].iter().zip(&parts).try_for_each(|(place, part)| writer.write(place, 0, part))
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

impl Gather {
    /// Takes the values of one chunk, from block `first` on; with the last chunk's, `finish` gets
    /// the values of all.
    fn put(
        &self,
        first: u64,
        values: &[f32],
        finish: impl FnOnce(&mut AlignedBytes) -> Result<()>,
    ) -> Result<()> {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = gathered.absmax.as_f32_mut();
        all[first as usize..][..values.len()].copy_from_slice(values);
        gathered.chunks_left -= 1;
        if gathered.chunks_left == 0 { finish(&mut gathered.absmax) } else { Ok(()) }
    }
}

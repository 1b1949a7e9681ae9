//! What a device must be able to do, as plain data. Jobs hold no options and no ownership: the
//! operations above have checked everything, and a kernel sees only pointers and counts.

pub mod cpu;

use crate::codebook::{Decision, QuantType, Rule};
use crate::dtype::FloatType;
use crate::error::Result;
use crate::quant::BlockSize;

/// Quantize `numel` contiguous elements to packed codes and one absmax per block.
#[derive(Clone, Copy, Debug)]
pub struct QuantizeJob {
    /// `numel` elements of `source_type`; any alignment.
    pub source: *const u8,
    /// Element type of `source`.
    pub source_type: FloatType,
    /// Element count. The last block may be partial.
    pub numel: u64,
    /// Elements per absmax.
    pub block_size: BlockSize,
    /// NF4 or FP4.
    pub quant_type: QuantType,
    /// Whose decisions to follow.
    pub rule: Rule,
    /// `ceil(numel / 2)` bytes; element `2j` in the high nibble of byte `j`.
    pub codes: *mut u8,
    /// `ceil(numel / block_size)` values, aligned for `f32`.
    pub absmax: *mut f32,
}

impl QuantizeJob {
    /// The decision table of the job.
    pub fn decision(&self) -> &'static Decision {
        Decision::of(self.quant_type, self.rule)
    }
}

/// Where the absmax of a block comes from.
#[derive(Clone, Copy, Debug)]
pub enum Scales {
    /// One `f32` per block.
    Plain {
        /// Aligned for `f32`.
        absmax: *const f32,
    },
    /// `round(map[codes[b]] * nested_absmax[b >> nested_shift]) + offset`, each step rounded to
    /// `f32` (not fused), as dequantization in bitsandbytes does.
    Double {
        /// One byte per block.
        codes: *const u8,
        /// 256 values, aligned for `f32`.
        map: *const f32,
        /// One value per `1 << nested_shift` blocks, aligned for `f32`.
        nested_absmax: *const f32,
        /// log2 of the nested block size.
        nested_shift: u32,
        /// Added to every scale.
        offset: f32,
    },
}

/// A quantized weight as kernels see it: the bytes as bitsandbytes stores them, never repacked.
#[derive(Clone, Copy, Debug)]
pub struct WeightRef {
    /// Packed codes of the flat element stream; any alignment.
    pub codes: *const u8,
    /// The values of nibbles 0 to 15.
    pub codebook: [f32; 16],
    /// Elements per absmax.
    pub block_size: BlockSize,
    /// One scale per block of the flat stream.
    pub scales: Scales,
}

impl WeightRef {
    /// The weight from element `start` on, which must begin a nested block (or a block, if the
    /// scales are plain).
    pub fn from_element(&self, start: u64) -> Self {
        let block = start as usize >> self.block_size.shift();
        debug_assert_eq!(start as usize, block << self.block_size.shift());
        let scales = match self.scales {
            Scales::Plain { absmax } => Scales::Plain { absmax: absmax.wrapping_add(block) },
            Scales::Double { codes, map, nested_absmax, nested_shift, offset } => {
                debug_assert_eq!(block & ((1 << nested_shift) - 1), 0);
                Scales::Double {
                    codes: codes.wrapping_add(block),
                    map,
                    nested_absmax: nested_absmax.wrapping_add(block >> nested_shift),
                    nested_shift,
                    offset,
                }
            }
        };
        WeightRef { codes: self.codes.wrapping_add(start as usize / 2), scales, ..*self }
    }
}

/// Decode a run of elements: `output[i] = codebook[nibble] * scale`, one rounding in `f32`, then
/// one round-to-nearest-even to `output_type`.
#[derive(Clone, Copy, Debug)]
pub struct DequantizeJob {
    /// The weight.
    pub weight: WeightRef,
    /// Elements to decode, from the start of the stream.
    pub numel: u64,
    /// Room for `numel` elements; any alignment.
    pub output: *mut u8,
    /// Element type of `output`.
    pub output_type: FloatType,
}

/// `output[m, n] = input[m, k] · W[n, k]ᵀ (+ bias[n]) (+ output)`; with `transpose`
/// `output[m, k] = input[m, n] · W[n, k]`.
#[derive(Clone, Copy, Debug)]
pub struct GemmJob {
    /// Rows of input and output.
    pub m: u64,
    /// Rows of the weight (output features).
    pub n: u64,
    /// Columns of the weight (input features); need not be a multiple of the block size.
    pub k: u64,
    /// The input; any alignment; unit stride along a row.
    pub input: *const u8,
    /// Element type of `input`.
    pub input_type: FloatType,
    /// Elements from one input row to the next.
    pub input_stride: i64,
    /// The weight, `n * k` elements.
    pub weight: WeightRef,
    /// `n` elements (`k` with `transpose`), or null; any alignment.
    pub bias: *const u8,
    /// Element type of `bias`.
    pub bias_type: FloatType,
    /// The output; any alignment; unit stride along a row. Must not overlap the input.
    pub output: *mut u8,
    /// Element type of `output`.
    pub output_type: FloatType,
    /// Elements from one output row to the next.
    pub output_stride: i64,
    /// Add to what `output` holds.
    pub accumulate: bool,
    /// Multiply by `W` instead of `Wᵀ`: the gradient with respect to the input.
    pub transpose: bool,
    /// Keep exact `f32` products even where 16-bit inputs would allow 16-bit weights.
    pub exact: bool,
}

/// A device's operations.
///
/// # Safety
/// For every method: the job's pointers are valid for the sizes that its counts imply, outputs do
/// not overlap inputs, and nobody writes to any of them during the call.
pub trait Backend: Send + Sync {
    /// See [`QuantizeJob`].
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn quantize(&self, job: &QuantizeJob) -> Result<()>;
    /// See [`DequantizeJob`].
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn dequantize(&self, job: &DequantizeJob) -> Result<()>;
    /// See [`GemmJob`].
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn gemm(&self, job: &GemmJob) -> Result<()>;
    /// Independent products (the experts of a mixture), as if each were given to `gemm`, any with
    /// `m == 0` allowed.
    ///
    /// # Safety
    /// As the trait says; outputs do not overlap one another.
    unsafe fn grouped_gemm(&self, jobs: &[GemmJob]) -> Result<()>;
}

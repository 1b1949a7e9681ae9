//! How far a quantized weight is from its source.

use std::sync::Mutex;

use half::{bf16, f16};

use super::quantize::float_type;
use crate::backend::DequantizeJob;
use crate::context::Context;
use crate::dtype::FloatType;
use crate::error::{Result, err};
use crate::memory::AlignedBytes;
use crate::tensor::TensorRef;
use crate::weight::Weight;

/// Differences between a source and the weight made from it, over all elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantError {
    /// Elements compared.
    pub count: u64,
    /// Largest absolute difference.
    pub max: f64,
    /// Mean absolute difference.
    pub mean: f64,
    /// Root of the mean squared difference.
    pub rms: f64,
    /// Signal-to-noise ratio in decibels: `10 log10(Σ source² / Σ difference²)`. Infinite if equal.
    pub snr_db: f64,
}

/// Elements per task, a multiple of every nested block's reach (4096 blocks of up to 4096).
const CHUNK: u64 = 4096 * 4096;

#[derive(Clone, Copy, Default)]
struct Sums {
    max: f64,
    absolute: f64,
    squared: f64,
    signal: f64,
}

impl Sums {
    fn plus(self, other: &Sums) -> Sums {
        Sums {
            max: self.max.max(other.max),
            absolute: self.absolute + other.absolute,
            squared: self.squared + other.squared,
            signal: self.signal + other.signal,
        }
    }
}

/// Compares a source tensor (float32, float16 or bfloat16; the weight's shape) with the weight.
pub fn measure(context: &Context, source: TensorRef<'_>, weight: &Weight) -> Result<QuantError> {
    let dtype = float_type(source.raw().dtype, "source")?;
    if source.shape() != weight.shape() {
        return Err(err!(
            ShapeMismatch,
            "source has shape {}, the weight has {}",
            source.shape(),
            weight.shape()
        ));
    }
    let packed;
    let source = if source.raw().is_compact() {
        source
    } else {
        let mut copy = AlignedBytes::zeroed_u64(source.shape().numel() * dtype.size() as u64)?;
        source.pack_into(copy.as_mut_slice());
        packed = copy;
        TensorRef::from_bytes(packed.as_slice(), dtype.into(), source.shape())?
    };
    let count = source.shape().numel();
    let mut total = Sums::default();
    for start in (0..count).step_by(CHUNK as usize) {
        total = total.plus(&chunk_sums(context, source, dtype, weight, start, CHUNK.min(count - start))?);
    }
    let n = (count as f64).max(1.0);
    Ok(QuantError {
        count,
        max: total.max,
        mean: total.absolute / n,
        rms: (total.squared / n).sqrt(),
        snr_db: 10.0 * (total.signal / total.squared).log10(),
    })
}

/// Decodes a chunk in parallel pieces and adds up each piece; pieces are added in order.
fn chunk_sums(
    context: &Context,
    source: TensorRef<'_>,
    dtype: FloatType,
    weight: &Weight,
    start: u64,
    count: u64,
) -> Result<Sums> {
    let mut decoded = AlignedBytes::zeroed_u64(count * 4)?;
    let job = DequantizeJob {
        weight: weight.kernel_ref().from_element(start),
        numel: count,
        output: decoded.as_mut_slice().as_mut_ptr(),
        output_type: FloatType::F32,
    };
    // SAFETY: `decoded` holds `count` floats, and the chunk lies inside the weight.
    unsafe { context.backend().dequantize(&job)? };
    let decoded: &[f32] = decoded.as_f32_mut();
    const PIECE: usize = 1 << 16;
    let pieces = decoded.len().div_ceil(PIECE);
    let sums = Mutex::new(vec![Sums::default(); pieces]);
    let data = source.raw().data as usize + start as usize * dtype.size();
    context.host().runner().run(pieces, &|p| {
        let at = p * PIECE;
        let values = &decoded[at..(at + PIECE).min(decoded.len())];
        // SAFETY: the source is compact with `start + count` elements at least.
        let bytes = unsafe {
            let first = (data as *const u8).add(at * dtype.size());
            std::slice::from_raw_parts(first, values.len() * dtype.size())
        };
        let piece = piece_sums(bytes, dtype, values);
        sums.lock().unwrap_or_else(|e| e.into_inner())[p] = piece;
    });
    let sums = sums.into_inner().unwrap_or_else(|e| e.into_inner());
    Ok(sums.iter().fold(Sums::default(), Sums::plus))
}

fn piece_sums(source: &[u8], dtype: FloatType, decoded: &[f32]) -> Sums {
    let mut sums = Sums::default();
    for (bytes, decoded) in source.chunks_exact(dtype.size()).zip(decoded) {
        let value = match dtype {
            FloatType::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            FloatType::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            FloatType::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        };
        let difference = f64::from(value) - f64::from(*decoded);
        sums.max = sums.max.max(difference.abs());
        sums.absolute += difference.abs();
        sums.squared += difference * difference;
        sums.signal += f64::from(value) * f64::from(value);
    }
    sums
}

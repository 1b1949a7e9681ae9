//! The absmax values of a tensor without its codes: what double quantization's offset, and with it
//! the length of a quant state, depends on. Limited by memory, unlike quantizing.

use super::BlockSize;
use crate::codebook::Rule;
use crate::dtype::FloatType;

/// bitsandbytes' lower limit of a divisor: `1e-38` in binary32, a denormal. A partial last block
/// stores it in place of a smaller absmax.
const MIN_ABSMAX: f32 = f32::from_bits(0x006c_e3ee);

/// Writes one absmax per block, each bit as quantizing with `rule` stores it (any NaN is the
/// canonical one). `source` holds whole elements of `dtype`, from the start of a block; the last
/// block may be partial.
pub fn absmax_values(rule: Rule, dtype: FloatType, block_size: BlockSize, source: &[u8], absmax: &mut [f32]) {
    let block_bytes = block_size.get() * dtype.size();
    for (block, absmax) in source.chunks(block_bytes).zip(absmax) {
        let largest = largest_magnitude(dtype, block);
        let full = block.len() == block_bytes;
        *absmax = match rule {
            Rule::BnbCpu if largest.is_nan() => f32::NAN,
            Rule::BnbCpu if full => largest,
            Rule::BnbCpu => largest.max(MIN_ABSMAX),
            Rule::BnbCuda => {
                // NaN is ignored; the kernel starts at the lowest float and reads zeros past the end.
                let largest = if largest.is_nan() { largest_number(dtype, block) } else { Some(largest) };
                match largest {
                    Some(value) if value.is_subnormal() => 0.0,
                    Some(value) => value,
                    None if full => f32::MIN,
                    None => 0.0,
                }
            }
        };
    }
}

/// The largest magnitude, NaN counting as larger than infinity: magnitudes order like their bits.
fn largest_magnitude(dtype: FloatType, block: &[u8]) -> f32 {
    let largest_16 = || {
        let bits = block.as_chunks::<2>().0.iter().map(|b| i16::from_le_bytes(*b) & i16::MAX);
        bits.fold(0, i16::max) as u16
    };
    match dtype {
        FloatType::F32 => {
            let bits = block.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b) & i32::MAX);
            f32::from_bits(bits.fold(0, i32::max) as u32)
        }
        FloatType::F16 => half::f16::from_bits(largest_16()).to_f32(),
        FloatType::Bf16 => f32::from_bits(u32::from(largest_16()) << 16),
    }
}

/// The largest magnitude among the elements that are not NaN.
fn largest_number(dtype: FloatType, block: &[u8]) -> Option<f32> {
    block
        .chunks_exact(dtype.size())
        .map(|element| largest_magnitude(dtype, element))
        .filter(|value| !value.is_nan())
        .reduce(f32::max)
}

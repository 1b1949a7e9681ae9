//! Double quantization: the absmax values, less their mean, quantized to 8 bits in blocks of 256.

use super::{NESTED_BLOCK_SIZE, mean::torch_mean};
use crate::codebook::{Rule, dynamic_absmax, dynamic_codes};
use crate::error::Result;
use crate::memory::AlignedBytes;

/// The second level of a double-quantized weight.
pub struct DoubleQuantized {
    /// One byte per block.
    pub codes: AlignedBytes,
    /// One `f32` per 256 blocks.
    pub nested_absmax: AlignedBytes,
    /// The mean of all absmax values.
    pub offset: f32,
}

/// Quantizes the absmax values of one weight. The order of the mean's additions is that of torch
/// with one thread, whatever the number of threads here.
pub fn double_quantize(rule: Rule, absmax: &[f32]) -> Result<DoubleQuantized> {
    let block = NESTED_BLOCK_SIZE as usize;
    let offset = torch_mean(absmax);
    let mut codes = AlignedBytes::zeroed(absmax.len())?;
    let mut nested = AlignedBytes::zeroed(absmax.len().div_ceil(block) * 4)?;
    let mut centred = [0.0f32; NESTED_BLOCK_SIZE as usize];
    let outputs = codes.as_mut_slice().chunks_mut(block).zip(nested.as_f32_mut());
    for (values, (codes, nested)) in absmax.chunks(block).zip(outputs) {
        let centred = &mut centred[..values.len()];
        for (c, v) in centred.iter_mut().zip(values) {
            *c = v - offset;
        }
        *nested = dynamic_absmax(rule, centred);
        dynamic_codes(rule, centred, *nested, codes);
    }
    Ok(DoubleQuantized { codes, nested_absmax: nested, offset })
}

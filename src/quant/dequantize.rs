//! A 4-bit weight back to floats.

use super::quantize::float_type;
use crate::backend::DequantizeJob;
use crate::context::Context;
use crate::dtype::FloatType;
use crate::error::{Result, err};
use crate::memory::AlignedBytes;
use crate::tensor::TensorMut;
use crate::weight::Weight;

/// Decodes a weight into a tensor of the same element count and shape, of any float dtype and
/// strides.
pub fn dequantize(context: &Context, weight: &Weight, destination: &mut TensorMut<'_>) -> Result<()> {
    let raw = *destination.raw();
    let dtype = float_type(raw.dtype, "destination")?;
    if raw.shape != weight.shape() {
        return Err(err!(
            ShapeMismatch,
            "destination has shape {}, the weight has {}",
            raw.shape,
            weight.shape()
        ));
    }
    if raw.is_compact() {
        // SAFETY: the destination is compact and has the weight's element count.
        return unsafe { dequantize_to(context, weight, raw.data, dtype) };
    }
    let mut compact = AlignedBytes::zeroed_u64(raw.shape.numel() * dtype.size() as u64)?;
    // SAFETY: `compact` has just been sized for the weight.
    unsafe { dequantize_to(context, weight, compact.as_mut_slice().as_mut_ptr(), dtype)? };
    destination.unpack_from(compact.as_slice());
    Ok(())
}

/// # Safety
/// `output` has room for every element of the weight as `dtype`.
unsafe fn dequantize_to(context: &Context, weight: &Weight, output: *mut u8, dtype: FloatType) -> Result<()> {
    let job = DequantizeJob {
        weight: weight.kernel_ref(),
        numel: weight.shape().numel(),
        output,
        output_type: dtype,
    };
    // SAFETY: a weight's parts were checked against its element count; the caller vouches for `output`.
    unsafe { context.backend().dequantize(&job) }
}

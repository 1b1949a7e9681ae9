//! AVX2 with FMA and F16C.

mod dequantize;
mod quantize;

pub(crate) use dequantize::dequantize;
pub(crate) use quantize::quantize;

//! AVX-512 (F, BW, VL, DQ).

mod dequantize;
mod quantize;
mod search;

pub(crate) use dequantize::dequantize;
pub(crate) use quantize::quantize;

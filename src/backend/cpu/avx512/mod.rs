//! AVX-512 (F, BW, VL, DQ).

mod dequantize;
pub(crate) mod gemm;
mod quantize;

pub(crate) use dequantize::dequantize;
pub(crate) use quantize::quantize;

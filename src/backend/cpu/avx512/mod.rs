//! AVX-512 (F, BW, VL, DQ).

mod dequantize;
mod gemm;
mod quantize;

pub(crate) use dequantize::dequantize;
pub(crate) use gemm::gemm;
pub(crate) use quantize::quantize;

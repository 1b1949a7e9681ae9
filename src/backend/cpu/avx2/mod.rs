//! AVX2 with FMA and F16C.

mod dequantize;
mod gemm;
mod quantize;

pub(crate) use dequantize::dequantize;
pub(crate) use gemm::gemm;
pub(crate) use quantize::quantize;

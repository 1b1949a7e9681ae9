//! Arm Advanced SIMD, which every 64-bit Arm processor has.

mod dequantize;
mod gemm;
mod quantize;

pub(crate) use dequantize::dequantize;
pub(crate) use gemm::gemm;
pub(crate) use quantize::quantize;

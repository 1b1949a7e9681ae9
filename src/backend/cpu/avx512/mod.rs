//! AVX-512 (F, BW, VL, DQ).

mod dequantize;
mod gemm;
mod quantize;
mod search;

pub(crate) use dequantize::dequantize;
pub(crate) use gemm::{KERNELS, decode_rows, gemm, transpose};
pub(crate) use quantize::quantize;

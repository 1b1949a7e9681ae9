//! The kernels in plain Rust: what every other arm must agree with.

mod convert;
mod dequantize;
mod gemm;
mod quantize;

#[cfg(target_arch = "aarch64")]
pub(crate) use convert::{load, store};
pub(crate) use dequantize::dequantize;
pub(crate) use gemm::gemm;
pub(crate) use quantize::{MIN_ABSMAX, quantize};

//! Kernels for AVX-512 F, BW, VL and DQ.

pub(crate) mod gemm;

//! AVX-512 with BF16: products of few rows, and tiles of weights and input for arms that multiply
//! those.

mod collect;
mod decode;
mod dot;
mod gemm;
mod interleaved;
mod pack;
mod rows;
mod split;

pub(crate) use collect::collect;
pub(crate) use decode::decode;
pub(crate) use gemm::gemm;
pub(crate) use pack::pack;

//! AMX tiles of `bf16`.

mod block_sums;
mod gemm;
mod tile;

pub(crate) use gemm::gemm;

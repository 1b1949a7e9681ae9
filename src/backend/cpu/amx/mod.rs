//! AMX tiles of `bf16`.

mod gemm;

pub(crate) use gemm::gemm;

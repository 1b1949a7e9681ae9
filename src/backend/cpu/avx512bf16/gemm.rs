//! Products with AVX-512 BF16: those of AVX-512, but for few rows of `bf16`.

use super::dot;
use crate::backend::GemmJob;
use crate::backend::cpu::avx512;
use crate::backend::cpu::gemm::{Kernels, Workspace, run};
use crate::backend::cpu::runner::Runner;
use crate::error::Result;

static KERNELS: Kernels = Kernels { dot_bf16: Some(dot::KERNELS), ..avx512::KERNELS };

/// Computes the jobs.
///
/// # Safety
/// The jobs' pointers are as their fields say; AVX-512 F, BW, VL, DQ, BF16.
pub(crate) unsafe fn gemm(jobs: &[GemmJob], runner: &Runner, workspace: &Workspace) -> Result<()> {
    // SAFETY: passed on.
    unsafe { run(jobs, &KERNELS, runner, workspace) }
}

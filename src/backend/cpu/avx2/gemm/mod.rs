//! Products with AVX2.

mod axpy;
mod convert;
mod dot;
mod panel;

use crate::backend::GemmJob;
use crate::backend::cpu::gemm::{Kernels, Workspace, run};
use crate::backend::cpu::runner::Runner;
use crate::error::Result;

static KERNELS: Kernels = Kernels {
    widen: convert::widen,
    finish: convert::finish,
    scales: convert::scales,
    dot: dot::KERNELS,
    axpy: Some(axpy::KERNELS),
    panel: panel::KERNELS,
    tiles: None,
    block_sums: None,
};

/// Computes the jobs.
///
/// # Safety
/// The jobs' pointers are as their fields say; AVX2, FMA, F16C.
pub(crate) unsafe fn gemm(jobs: &[GemmJob], runner: &Runner, workspace: &Workspace) -> Result<()> {
    // SAFETY: passed on.
    unsafe { run(jobs, &KERNELS, runner, workspace) }
}

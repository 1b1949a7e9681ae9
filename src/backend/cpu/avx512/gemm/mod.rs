//! Products with AVX-512.

mod axpy;
mod convert;
mod dot;
mod lookup;
mod panel;

pub(crate) use panel::{decode_rows, transpose};

use crate::backend::GemmJob;
use crate::backend::cpu::gemm::{Kernels, Workspace, run};
use crate::backend::cpu::runner::Runner;
use crate::error::Result;

/// The kernels of this arm.
pub(crate) const KERNELS: Kernels = Kernels {
    widen: convert::widen,
    finish: convert::finish,
    scales: convert::scales,
    dot: dot::KERNELS,
    axpy: Some(axpy::KERNELS),
    panel: panel::KERNELS,
    tiles: None,
    block_sums: None,
};

static STATIC: Kernels = KERNELS;

/// Computes the jobs.
///
/// # Safety
/// The jobs' pointers are as their fields say; AVX-512 F, BW, VL, DQ.
pub(crate) unsafe fn gemm(jobs: &[GemmJob], runner: &Runner, workspace: &Workspace) -> Result<()> {
    // SAFETY: passed on.
    unsafe { run(jobs, &STATIC, runner, workspace) }
}

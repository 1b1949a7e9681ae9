//! Products with AVX-512.

mod convert;
mod dot;
mod panel;

use crate::backend::cpu::gemm::Kernels;

/// The kernels of this arm.
pub(crate) static KERNELS: Kernels = Kernels {
    widen: convert::widen,
    finish: convert::finish,
    scales: convert::scales,
    dot: dot::KERNELS,
    panel: panel::KERNELS,
};

//! One table of kernels per instruction set, picked once per backend.

use super::gemm::Workspace;
use super::isa::Isa;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
use super::runner::Runner;
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
use crate::backend::{DequantizeJob, GemmJob, QuantizeJob};
use crate::error::Result;

/// The kernels of one arm. All are unsafe in the same way: the job's pointers are as its fields
/// say, and the machine supports `isa`.
pub(crate) struct KernelTable {
    /// The arm.
    pub(crate) isa: Isa,
    /// Quantizes the whole job on this thread.
    pub(crate) quantize: unsafe fn(&QuantizeJob),
    /// Dequantizes `blocks` blocks from `first_block` on this thread; the last may be partial.
    pub(crate) dequantize: unsafe fn(job: &DequantizeJob, first_block: u64, blocks: u64),
    /// Independent products.
    pub(crate) gemm: unsafe fn(&[GemmJob], &Runner, &Workspace) -> Result<()>,
}

static PORTABLE: KernelTable = KernelTable {
    isa: Isa::Portable,
    quantize: portable::quantize,
    dequantize: portable::dequantize,
    gemm: portable::gemm,
};
#[cfg(target_arch = "x86_64")]
static AVX2: KernelTable =
    KernelTable { isa: Isa::Avx2, quantize: avx2::quantize, dequantize: avx2::dequantize, gemm: avx2::gemm };
#[cfg(target_arch = "x86_64")]
static AVX512: KernelTable = KernelTable {
    isa: Isa::Avx512,
    quantize: avx512::quantize,
    dequantize: avx512::dequantize,
    gemm: avx512::gemm,
};
#[cfg(target_arch = "x86_64")]
static AVX512_BF16: KernelTable = KernelTable { isa: Isa::Avx512Bf16, ..AVX512 };
#[cfg(target_arch = "x86_64")]
static AMX: KernelTable = KernelTable { isa: Isa::Amx, gemm: amx::gemm, ..AVX512 };

#[cfg(target_arch = "aarch64")]
static NEON: KernelTable =
    KernelTable { isa: Isa::Neon, quantize: neon::quantize, dequantize: neon::dequantize, gemm: neon::gemm };

impl KernelTable {
    /// The table of an arm of this build.
    pub(crate) fn of(isa: Isa) -> &'static KernelTable {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &AVX2,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &AVX512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => &AVX512_BF16,
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => &AMX,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &NEON,
            _ => &PORTABLE,
        }
    }
}

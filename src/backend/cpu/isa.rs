//! Which instruction sets the kernels come in, and which of them this machine may use.

use std::sync::OnceLock;

use crate::error::{Result, err};

/// An arm of the kernels. Each includes what the ones before it need, so "at most" is an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, any machine.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
    /// AVX-512 with BF16 dot products.
    Avx512Bf16,
    /// AMX tiles with BF16, which the operating system must grant.
    Amx,
    /// Arm Advanced SIMD.
    Neon,
}

impl Isa {
    /// The arms compiled into this build, oldest first.
    #[cfg(target_arch = "x86_64")]
    pub const ALL: &[Isa] = &[Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];
    /// The arms compiled into this build, oldest first.
    #[cfg(target_arch = "aarch64")]
    pub const ALL: &[Isa] = &[Isa::Portable, Isa::Neon];
    /// The arms compiled into this build, oldest first.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub const ALL: &[Isa] = &[Isa::Portable];

    /// `portable`, `avx2`, `avx512`, `avx512bf16`, `amx` or `neon`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
        }
    }

    /// Reads the name of an arm of this build.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|isa| isa.name()).collect();
            err!(InvalidArgument, "instruction set \"{name}\": expected one of {}", names.join(", "))
        })
    }

    /// The newest arm that this machine can run.
    pub fn detect() -> Self {
        Self::detect_up_to(None)
    }

    /// The newest arm that this machine can run and that is not above `cap`.
    pub fn detect_up_to(cap: Option<Isa>) -> Self {
        let allowed = |isa: &Isa| cap.is_none_or(|cap| *isa <= cap);
        Self::ALL
            .iter()
            .rev()
            .copied()
            .filter(allowed)
            .find(|isa| isa.is_supported())
            .unwrap_or(Isa::Portable)
    }

    /// Whether this machine can run the arm. Asking for AMX asks the operating system to grant it
    /// to the process.
    pub fn is_supported(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            _ => x86::supports(self),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The cap of the environment variable `FOURBIT_CPU_ISA_MAX`, read once per process. Unset or
    /// empty means no cap.
    pub fn env_cap() -> Result<Option<Isa>> {
        static VALUE: OnceLock<Option<String>> = OnceLock::new();
        let value = VALUE.get_or_init(|| {
            std::env::var_os("FOURBIT_CPU_ISA_MAX").map(|v| v.to_string_lossy().into_owned())
        });
        match value.as_deref() {
            None | Some("") => Ok(None),
            Some(name) => Self::parse(name).map(Some).map_err(|e| e.in_place("FOURBIT_CPU_ISA_MAX")),
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::is_x86_feature_detected as has;
    use std::arch::x86_64::{__cpuid_count, _xgetbv};
    use std::sync::OnceLock;

    use super::Isa;

    pub(super) fn supports(isa: Isa) -> bool {
        match isa {
            Isa::Portable => true,
            Isa::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
            Isa::Avx512 => {
                supports(Isa::Avx2)
                    && has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512vl")
                    && has!("avx512dq")
            }
            Isa::Avx512Bf16 => supports(Isa::Avx512) && has!("avx512bf16"),
            Isa::Amx => supports(Isa::Avx512Bf16) && amx_granted(),
            Isa::Neon => false,
        }
    }

    /// AMX-TILE and AMX-BF16 in the processor, its state enabled by the operating system, and the
    /// process permitted to use it. The permission covers all threads, present and future.
    fn amx_granted() -> bool {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| amx_present() && request_permission())
    }

    fn amx_present() -> bool {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        const TILE_STATE: u64 = 0b11 << 17;
        let leaf7 = __cpuid_count(7, 0);
        if leaf7.edx & (AMX_BF16 | AMX_TILE) != AMX_BF16 | AMX_TILE || !has!("xsave") {
            return false;
        }
        // SAFETY: XSAVE was detected, which std does only with OSXSAVE set.
        unsafe { _xgetbv(0) & TILE_STATE == TILE_STATE }
    }

    #[cfg(target_os = "linux")]
    fn request_permission() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: takes two integers and writes no memory of ours.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }

    #[cfg(not(target_os = "linux"))]
    fn request_permission() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_a_wrong_one_lists_the_right_ones() {
        for isa in Isa::ALL {
            assert_eq!(Isa::parse(isa.name()).unwrap(), *isa);
        }
        let words = Isa::parse("sse9").unwrap_err().to_string();
        assert!(words.contains("\"sse9\"") && words.contains("portable"), "{words}");
    }

    #[test]
    fn a_cap_is_never_exceeded_and_newer_arms_imply_older_ones() {
        assert!(Isa::ALL.windows(2).all(|w| w[0] < w[1]));
        for cap in Isa::ALL {
            assert!(Isa::detect_up_to(Some(*cap)) <= *cap);
        }
        let best = Isa::detect();
        assert!(Isa::ALL.iter().filter(|isa| **isa <= best).all(|isa| isa.is_supported()));
    }
}

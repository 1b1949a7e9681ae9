//! The floating-point environment: results must not depend on flush-to-zero, denormals-are-zero or
//! a rounding mode that a host (an audio engine, `-ffast-math` start-up code) left set.

/// Sets the default environment (round to nearest, denormals kept, no traps) and puts the former
/// one back when dropped.
pub(crate) struct DefaultFloatEnv {
    #[cfg(target_arch = "x86_64")]
    saved: u32,
    #[cfg(target_arch = "aarch64")]
    saved: u64,
}

#[cfg(target_arch = "x86_64")]
impl DefaultFloatEnv {
    const MXCSR_DEFAULT: u32 = 0x1f80;

    pub(crate) fn set() -> Self {
        let mut saved = 0u32;
        // SAFETY: stores the control register into a local.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut saved, options(nostack)) };
        if saved != Self::MXCSR_DEFAULT {
            load_mxcsr(Self::MXCSR_DEFAULT);
        }
        DefaultFloatEnv { saved }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for DefaultFloatEnv {
    fn drop(&mut self) {
        // Sticky exception flags that kernels raised are dropped as well.
        load_mxcsr(self.saved);
    }
}

#[cfg(target_arch = "x86_64")]
fn load_mxcsr(value: u32) {
    // SAFETY: `value` is the default or what this thread had; both are valid.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack)) };
}

#[cfg(target_arch = "aarch64")]
impl DefaultFloatEnv {
    const FPCR_DEFAULT: u64 = 0;

    pub(crate) fn set() -> Self {
        let saved: u64;
        // SAFETY: reads the control register.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) saved, options(nostack)) };
        if saved != Self::FPCR_DEFAULT {
            load_fpcr(Self::FPCR_DEFAULT);
        }
        DefaultFloatEnv { saved }
    }
}

#[cfg(target_arch = "aarch64")]
impl Drop for DefaultFloatEnv {
    fn drop(&mut self) {
        if self.saved != Self::FPCR_DEFAULT {
            load_fpcr(self.saved);
        }
    }
}

#[cfg(target_arch = "aarch64")]
fn load_fpcr(value: u64) {
    // SAFETY: `value` is the default or what this thread had; both are valid.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nostack)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl DefaultFloatEnv {
    pub(crate) fn set() -> Self {
        DefaultFloatEnv {}
    }
}

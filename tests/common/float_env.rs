//! The floating-point control register of this thread.

/// What a thread starts with.
#[cfg(target_arch = "x86_64")]
pub const DEFAULT: u64 = 0x1f80;
/// Denormals flushed on the way in and out, rounding up.
#[cfg(target_arch = "x86_64")]
pub const FLUSH_AND_ROUND_UP: u64 = 0x1f80 | 0x8040 | 0x4000;
/// What a thread starts with.
#[cfg(target_arch = "aarch64")]
pub const DEFAULT: u64 = 0;
/// Denormals flushed, rounding up.
#[cfg(target_arch = "aarch64")]
pub const FLUSH_AND_ROUND_UP: u64 = 1 << 24 | 1 << 22;

/// Sets the register.
pub fn set(value: u64) {
    // SAFETY: the tests set one of the constants above and restore the default.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value);
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("msr fpcr, {}", in(reg) value);
    }
}

/// The register, without sticky exception flags.
#[allow(dead_code)] // Not every test reads it.
pub fn get() -> u64 {
    let mut value = 0u64;
    // SAFETY: stores into a local.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value);
    }
    // SAFETY: reads a register.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) value);
    }
    if cfg!(target_arch = "x86_64") { value & !0x3f } else { value }
}

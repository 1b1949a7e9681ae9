//! The peak rate of one thread's arithmetic: multiply-adds of registers, nothing loaded.

use crate::backend::cpu::Isa;

/// A loop of multiply-adds, and how many operations (two per multiply-add) a round of it does.
pub(super) struct Peak {
    pub(super) flops_per_round: u64,
    /// Runs that many rounds. The machine must support the arm it was asked for.
    pub(super) rounds: unsafe fn(u64),
}

/// `f32` products and sums with the instructions of an arm.
pub(super) fn f32_peak(isa: Isa) -> Peak {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => {
            Peak { flops_per_round: 12 * 16 * 2, rounds: x86::avx512_fma }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Peak { flops_per_round: 12 * 8 * 2, rounds: x86::avx2_fma },
        _ => Peak { flops_per_round: LANES as u64 * 2, rounds: plain },
    }
}

/// `bf16` products summed in `f32`, if the arm has instructions for them.
pub(super) fn bf16_peak(isa: Isa) -> Option<Peak> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => Some(Peak { flops_per_round: 4 * 16 * 16 * 32 * 2, rounds: x86::amx_bf16 }),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => Some(Peak { flops_per_round: 12 * 32 * 2, rounds: x86::avx512_bf16 }),
        _ => None,
    }
}

/// Independent sums of [`plain`].
const LANES: usize = 40;

/// What the compiler makes of it: vectors of the target's baseline.
unsafe fn plain(rounds: u64) {
    let mut sums = [1.0f32; LANES];
    let (a, b) = (std::hint::black_box(0.999f32), std::hint::black_box(0.001f32));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = if cfg!(target_arch = "aarch64") { sum.mul_add(a, b) } else { *sum * a + b };
        }
    }
    std::hint::black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    /// Twelve independent sums in registers 0 to 11, of the operands in 12 and 13, which stay as
    /// they were: the rate does not depend on values.
    macro_rules! twelve {
        ($name:ident, $requires:literal, $instruction:literal, $register:literal) => {
            /// # Safety
            #[doc = $requires]
            pub(super) unsafe fn $name(rounds: u64) {
                // SAFETY: touches vector registers only, which are declared.
                unsafe {
                    asm!(
                        "2:",
                        concat!($instruction, " ", $register, "0, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "1, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "2, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "3, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "4, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "5, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "6, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "7, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "8, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "9, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "10, ", $register, "12, ", $register, "13"),
                        concat!($instruction, " ", $register, "11, ", $register, "12, ", $register, "13"),
                        "dec {rounds}",
                        "jnz 2b",
                        rounds = inout(reg) rounds.max(1) => _,
                        out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
                        out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
                        out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _,
                        options(nostack, nomem),
                    );
                }
            }
        };
    }
    twelve!(avx512_fma, "AVX-512 F.", "vfmadd231ps", "zmm");
    twelve!(avx2_fma, "AVX2 and FMA.", "vfmadd231ps", "ymm");
    twelve!(avx512_bf16, "AVX-512 BF16.", "vdpbf16ps", "zmm");

    #[repr(C, align(64))]
    struct Configuration([u8; 64]);

    /// Palette 1; eight tiles of 16 rows of 64 bytes.
    const TILES: Configuration = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            bytes[16 + 2 * tile] = 64;
            bytes[48 + tile] = 16;
            tile += 1;
        }
        Configuration(bytes)
    };

    /// Four sums in tile registers.
    ///
    /// # Safety
    /// AMX-BF16, granted by the operating system.
    pub(super) unsafe fn amx_bf16(rounds: u64) {
        let operand = [0x3f80_u16; 512];
        // SAFETY: reads the configuration and 1 KB of operand; no tile state is left behind.
        unsafe {
            asm!(
                "ldtilecfg [{tiles}]",
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "tileloadd tmm4, [{operand} + {row}]", "tileloadd tmm5, [{operand} + {row}]",
                "tileloadd tmm6, [{operand} + {row}]", "tileloadd tmm7, [{operand} + {row}]",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {rounds}",
                "jnz 2b",
                "tilerelease",
                tiles = in(reg) &TILES, operand = in(reg) &operand, row = in(reg) 64usize,
                rounds = inout(reg) rounds.max(1) => _,
                options(nostack, readonly),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_loop_returns() {
        for isa in Isa::ALL.iter().filter(|isa| isa.is_supported()) {
            for peak in [Some(f32_peak(*isa)), bf16_peak(*isa)].into_iter().flatten() {
                // SAFETY: the arm is supported.
                unsafe { (peak.rounds)(10) };
                assert!(peak.flops_per_round > 0);
            }
        }
    }
}

//! Products of tiles with AMX. Tile registers hold up to 2 by 2, or 4 by 1, tiles of sums.
//!
//! The tile registers belong to the functions of this file between `begin` and `end`: compiled code
//! has no use for them, so their contents last from one `asm!` to the next.

use std::arch::asm;

use super::block_sums;
use crate::backend::GemmJob;
use crate::backend::cpu::gemm::kernels::{
    BlockSumKernels, PANEL_TILES, PanelProduct, STRIP_BYTES, Sums, TILE_WIDTH, TileKernels,
};
use crate::backend::cpu::gemm::{Kernels, Workspace, run};
use crate::backend::cpu::runner::Runner;
use crate::backend::cpu::{avx512, avx512bf16};
use crate::error::Result;

static KERNELS: Kernels = Kernels {
    tiles: Some(TileKernels {
        begin,
        end,
        pack: avx512bf16::pack,
        decode: avx512bf16::decode,
        decode_pairs: avx512bf16::decode_pairs,
        multiply,
        collect: avx512bf16::collect,
    }),
    block_sums: Some(BlockSumKernels {
        begin,
        end,
        ordinary: avx512bf16::ordinary,
        pack: avx512bf16::pack_terms,
        multiply: block_sums::multiply,
        collect: avx512bf16::collect,
    }),
    ..avx512::KERNELS
};

/// Computes the jobs.
///
/// # Safety
/// The jobs' pointers are as their fields say; AVX-512 F, BW, VL, DQ, BF16 and AMX-BF16, granted.
pub(crate) unsafe fn gemm(jobs: &[GemmJob], runner: &Runner, workspace: &Workspace) -> Result<()> {
    // SAFETY: passed on.
    unsafe { run(jobs, &KERNELS, runner, workspace) }
}

/// `palette 1; 8 tiles of 16 rows of 64 bytes`, as LDTILECFG takes it.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = {
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

/// # Safety
/// AMX, granted.
unsafe fn begin() {
    // SAFETY: the configuration is valid.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack, readonly)) }
}

/// # Safety
/// AMX, granted.
unsafe fn end() {
    // SAFETY: frees the tile state, so that the system need not save it.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// `f32` elements of a tile of sums.
const SUMS: usize = TILE_WIDTH * TILE_WIDTH;

/// See [`TileKernels::multiply`].
///
/// # Safety
/// The product is as its fields say; [`begin`] was called.
unsafe fn multiply(product: &PanelProduct) {
    for weight in (0..product.weight_tiles).step_by(2) {
        for input in (0..product.input_tiles / 2 * 2).step_by(2) {
            // SAFETY: passed on.
            unsafe { block(product, [weight, weight + 1, 0, 0], [input, input + 1], Shape::TwoByTwo) };
        }
    }
    if product.input_tiles % 2 == 1 {
        let last = product.input_tiles - 1;
        // SAFETY: passed on.
        unsafe { block(product, [0, 1, 2, 3], [last, last], Shape::FourByOne) };
    }
}

/// Weight tiles by input tiles whose sums are in registers together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    TwoByTwo,
    FourByOne,
}

/// # Safety
/// As [`multiply`]; the tiles exist.
unsafe fn block(product: &PanelProduct, weights: [usize; 4], inputs: [usize; 2], shape: Shape) {
    let strip = |start: *const u8, tile: usize, term: usize| {
        start.wrapping_add((tile * product.terms + term) * STRIP_BYTES)
    };
    let sums = |weight: usize, input: usize| {
        product.sums.wrapping_add((inputs[input] * PANEL_TILES + weights[weight]) * SUMS)
    };
    let sums = match shape {
        Shape::TwoByTwo => [sums(0, 0), sums(0, 1), sums(1, 0), sums(1, 1)],
        Shape::FourByOne => [sums(0, 0), sums(1, 0), sums(2, 0), sums(3, 0)],
    };
    // The product of the two lower terms is too small to matter.
    let terms = &[(0, 0), (0, 1), (1, 0)][..if product.terms == 1 { 1 } else { 3 }];
    // SAFETY: the strips and the sums exist.
    unsafe {
        match product.before {
            Sums::Zero => clear(),
            Sums::Memory => load(&sums),
            Sums::Registers => {}
        }
        for (weight_term, input_term) in terms {
            let w = weights.map(|tile| strip(product.weights, tile, *weight_term));
            let x = inputs.map(|tile| strip(product.inputs, tile, *input_term));
            match (shape, product.transpose) {
                (Shape::TwoByTwo, false) => two_by_two(&w, &x, product.steps),
                (Shape::TwoByTwo, true) => two_by_two_transposed(&w, &x, product.steps),
                (Shape::FourByOne, false) => four_by_one(&w, &x, product.steps),
                (Shape::FourByOne, true) => four_by_one_transposed(&w, &x, product.steps),
            }
        }
        if product.after == Sums::Memory {
            store(&sums);
        }
    }
}

/// # Safety
/// [`begin`] was called.
unsafe fn clear() {
    // SAFETY: clears the registers of the sums.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
    }
}

/// # Safety
/// The sums can be read; [`begin`] was called.
unsafe fn load(sums: &[*mut f32; 4]) {
    // SAFETY: 16 rows of 64 bytes each.
    unsafe {
        asm!(
            "tileloadd tmm0, [{a} + {row}]", "tileloadd tmm1, [{b} + {row}]",
            "tileloadd tmm2, [{c} + {row}]", "tileloadd tmm3, [{d} + {row}]",
            a = in(reg) sums[0], b = in(reg) sums[1], c = in(reg) sums[2], d = in(reg) sums[3],
            row = in(reg) 64usize, options(nostack, readonly),
        );
    }
}

/// # Safety
/// The sums can be written; [`begin`] was called.
unsafe fn store(sums: &[*mut f32; 4]) {
    // SAFETY: 16 rows of 64 bytes each.
    unsafe {
        asm!(
            "tilestored [{a} + {row}], tmm0", "tilestored [{b} + {row}], tmm1",
            "tilestored [{c} + {row}], tmm2", "tilestored [{d} + {row}], tmm3",
            a = in(reg) sums[0], b = in(reg) sums[1], c = in(reg) sums[2], d = in(reg) sums[3],
            row = in(reg) 64usize, options(nostack),
        );
    }
}

/// Weights in `tmm4`, `tmm5`, inputs in `tmm6`, `tmm7`. `$first` and `$second` are the operand
/// order: weights are the left operand, or the right one of the transposed product.
macro_rules! two_by_two {
    ($name:ident, $w0x0:literal, $w0x1:literal, $w1x0:literal, $w1x1:literal) => {
        /// # Safety
        /// The strips have `steps` tiles; [`begin`] was called.
        unsafe fn $name(weights: &[*const u8; 4], inputs: &[*const u8; 2], steps: usize) {
            // SAFETY: reads `steps` tiles of each strip.
            unsafe {
                asm!(
                    "2:",
                    "tileloadd tmm4, [{w0} + {row}]",
                    "tileloadd tmm6, [{x0} + {row}]",
                    $w0x0,
                    "tileloadd tmm7, [{x1} + {row}]",
                    $w0x1,
                    "tileloadd tmm5, [{w1} + {row}]",
                    $w1x0,
                    $w1x1,
                    "add {w0}, 1024", "add {w1}, 1024", "add {x0}, 1024", "add {x1}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    w0 = inout(reg) weights[0] => _, w1 = inout(reg) weights[1] => _,
                    x0 = inout(reg) inputs[0] => _, x1 = inout(reg) inputs[1] => _,
                    steps = inout(reg) steps => _, row = in(reg) 64usize,
                    options(nostack, readonly),
                );
            }
        }
    };
}
two_by_two!(
    two_by_two,
    "tdpbf16ps tmm0, tmm4, tmm6",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "tdpbf16ps tmm3, tmm5, tmm7"
);
two_by_two!(
    two_by_two_transposed,
    "tdpbf16ps tmm0, tmm6, tmm4",
    "tdpbf16ps tmm1, tmm7, tmm4",
    "tdpbf16ps tmm2, tmm6, tmm5",
    "tdpbf16ps tmm3, tmm7, tmm5"
);

/// The input in `tmm7`, weights in turn in `tmm4` to `tmm6`.
macro_rules! four_by_one {
    ($name:ident, $w0:literal, $w1:literal, $w2:literal, $w3:literal) => {
        /// # Safety
        /// The strips have `steps` tiles; [`begin`] was called.
        unsafe fn $name(weights: &[*const u8; 4], inputs: &[*const u8; 2], steps: usize) {
            // SAFETY: reads `steps` tiles of each strip.
            unsafe {
                asm!(
                    "2:",
                    "tileloadd tmm7, [{x} + {row}]",
                    "tileloadd tmm4, [{w0} + {row}]",
                    $w0,
                    "tileloadd tmm5, [{w1} + {row}]",
                    $w1,
                    "tileloadd tmm6, [{w2} + {row}]",
                    $w2,
                    "tileloadd tmm4, [{w3} + {row}]",
                    $w3,
                    "add {w0}, 1024", "add {w1}, 1024", "add {w2}, 1024", "add {w3}, 1024", "add {x}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    w0 = inout(reg) weights[0] => _, w1 = inout(reg) weights[1] => _,
                    w2 = inout(reg) weights[2] => _, w3 = inout(reg) weights[3] => _,
                    x = inout(reg) inputs[0] => _,
                    steps = inout(reg) steps => _, row = in(reg) 64usize,
                    options(nostack, readonly),
                );
            }
        }
    };
}
four_by_one!(
    four_by_one,
    "tdpbf16ps tmm0, tmm4, tmm7",
    "tdpbf16ps tmm1, tmm5, tmm7",
    "tdpbf16ps tmm2, tmm6, tmm7",
    "tdpbf16ps tmm3, tmm4, tmm7"
);
four_by_one!(
    four_by_one_transposed,
    "tdpbf16ps tmm0, tmm7, tmm4",
    "tdpbf16ps tmm1, tmm7, tmm5",
    "tdpbf16ps tmm2, tmm7, tmm6",
    "tdpbf16ps tmm3, tmm7, tmm4"
);

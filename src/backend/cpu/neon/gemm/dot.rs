//! Dot products straight from packed codes. The input is put in the order in which a byte's nibbles
//! are decoded: all second elements of sixteen bytes, then all first ones.

use std::arch::aarch64::*;

use super::decode::{BYTES, Planes, load, nibbles};
use crate::backend::cpu::gemm::kernels::{DOT_INPUTS, DOT_ROWS, DotKernel, DotKernels, DotRun};

/// Elements per 16 bytes of codes: never more than a block.
const CHUNK: usize = 2 * BYTES;

const WIDE: u8 = 0;
const BY64: u8 = 1;
const BY32: u8 = 2;

const fn by_inputs<const ROWS: usize, const LAYOUT: u8>() -> [DotKernel; DOT_INPUTS] {
    [dot::<ROWS, 1, LAYOUT>, dot::<ROWS, 2, LAYOUT>, dot::<ROWS, 3, LAYOUT>, dot::<ROWS, 4, LAYOUT>]
}

const fn by_layout<const ROWS: usize>() -> [[DotKernel; DOT_INPUTS]; 3] {
    [by_inputs::<ROWS, WIDE>(), by_inputs::<ROWS, BY64>(), by_inputs::<ROWS, BY32>()]
}

pub(super) const KERNELS: DotKernels =
    DotKernels { chunk: CHUNK, pack, wide: by_layout::<DOT_ROWS>(), lookup: None, narrow: by_layout::<1>() };

/// See [`DotKernels::pack`].
///
/// # Safety
/// Both pointers cover a chunk; Advanced SIMD.
#[target_feature(enable = "neon")]
unsafe fn pack(chunk: *const f32, out: *mut f32) {
    for i in (0..BYTES).step_by(4) {
        // SAFETY: the caller's contract; the load takes every second element together.
        unsafe {
            let pairs = vld2q_f32(chunk.add(2 * i));
            vst1q_f32(out.add(i), pairs.1);
            vst1q_f32(out.add(BYTES + i), pairs.0);
        }
    }
}

/// See [`DotKernel`]. The sum of a chunk is scaled, not the weights.
///
/// # Safety
/// The run is as its fields say; Advanced SIMD.
#[target_feature(enable = "neon")]
unsafe fn dot<const ROWS: usize, const INPUTS: usize, const LAYOUT: u8>(run: &DotRun<'_>, sums: *mut f32) {
    let planes = Planes::new(run.codebook);
    let mut totals = [[vdupq_n_f32(0.0); INPUTS]; ROWS];
    for chunk in 0..run.bytes.div_ceil(BYTES) {
        let input = run.input.wrapping_add(chunk * CHUNK);
        for (row, totals) in totals.iter_mut().enumerate() {
            // SAFETY: the chunk's bytes and its scale exist; packed input is padded to whole chunks.
            unsafe {
                let codes = load(run.codes[row].add(chunk * BYTES), run.bytes - chunk * BYTES);
                let partial = multiply::<INPUTS>(codes, &planes, input, run.input_stride);
                let scale = *run.scales[row].add(match LAYOUT {
                    WIDE => chunk >> (run.shift + 2),
                    BY64 => chunk / 2,
                    BY32.. => chunk,
                });
                for (total, partial) in totals.iter_mut().zip(&partial) {
                    *total = vfmaq_n_f32(*total, *partial, scale);
                }
            }
        }
    }
    for (row, totals) in totals.iter().enumerate() {
        for (input, total) in totals.iter().enumerate() {
            // SAFETY: the caller's contract.
            unsafe { *sums.add(row * INPUTS + input) += vaddvq_f32(*total) };
        }
    }
}

/// The unscaled sums of a chunk with each input row.
///
/// # Safety
/// The input rows have a chunk.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn multiply<const INPUTS: usize>(
    codes: uint8x16_t,
    planes: &Planes,
    input: *const f32,
    stride: usize,
) -> [float32x4_t; INPUTS] {
    let [first, second] = nibbles(codes);
    let mut sums = [vdupq_n_f32(0.0); INPUTS];
    for (half, nibbles) in [second, first].into_iter().enumerate() {
        for (vector, weights) in planes.look_up(nibbles).into_iter().enumerate() {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's contract.
                let x = unsafe { vld1q_f32(input.add(i * stride + half * BYTES + vector * 4)) };
                *sum = vfmaq_f32(*sum, weights, x);
            }
        }
    }
    sums
}

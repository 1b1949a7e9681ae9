//! Dot products of several `bf16` input rows straight from packed codes.
//!
//! As [`avx512::dot`](crate::backend::cpu::avx512), but a shift and `vpermw` decode 32 nibbles, one
//! of each word, to the codebook's values rounded to `bf16`, and `vdpbf16ps` multiplies pairs of
//! them and adds in `f32`. The sum of a chunk is multiplied by the scale, which is not rounded. Word
//! `w` then holds element `4 w + [1, 0, 3, 2][j]`, so lanes hold the same eight elements as there.

use std::arch::x86_64::*;

use super::split::round;
use crate::backend::cpu::avx512::{load_last_scales, load_scales};
use crate::backend::cpu::gemm::kernels::{DOT_INPUTS, DOT_ROWS, DotKernel, DotKernels, DotRun};

/// Elements per 64 bytes of codes.
const CHUNK: usize = 128;
/// How far ahead of a stream codes are fetched, in bytes.
const AHEAD: usize = 2048;

const WIDE: u8 = 0;
const BY64: u8 = 1;
const BY32: u8 = 2;

const fn by_inputs<const ROWS: usize, const LAYOUT: u8>() -> [DotKernel; DOT_INPUTS] {
    [dot::<ROWS, 1, LAYOUT>, dot::<ROWS, 2, LAYOUT>, dot::<ROWS, 3, LAYOUT>, dot::<ROWS, 4, LAYOUT>]
}

const fn by_layout<const ROWS: usize>() -> [[DotKernel; DOT_INPUTS]; 3] {
    [by_inputs::<ROWS, WIDE>(), by_inputs::<ROWS, BY64>(), by_inputs::<ROWS, BY32>()]
}

pub(super) const KERNELS: DotKernels = DotKernels {
    chunk: CHUNK,
    packed_chunk: CHUNK / 2,
    pack,
    wide: by_layout::<DOT_ROWS>(),
    lookup: None,
    narrow: by_layout::<1>(),
};

/// See [`DotKernels::pack`]: every fourth element together, as words. The values are exact in `bf16`,
/// so that their upper halves are all of them.
///
/// # Safety
/// `chunk` covers a chunk, `out` half as many `f32`.
unsafe fn pack(chunk: *const f32, out: *mut f32) {
    let out = out.cast::<u16>();
    for (j, place) in [1, 0, 3, 2].into_iter().enumerate() {
        for word in 0..CHUNK / 4 {
            // SAFETY: the caller's contract.
            unsafe {
                *out.add(j * (CHUNK / 4) + word) = ((*chunk.add(word * 4 + place)).to_bits() >> 16) as u16
            };
        }
    }
}

/// See [`DotKernel`].
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn dot<const ROWS: usize, const INPUTS: usize, const LAYOUT: u8>(run: &DotRun<'_>, sums: *mut f32) {
    // SAFETY: the caller's contract; packed input rows are padded to whole chunks.
    unsafe {
        let values = _mm512_loadu_ps(run.codebook.as_ptr());
        let table = round(values, values);
        let mut totals = [[_mm512_setzero_ps(); INPUTS]; ROWS];
        for index in 0..run.bytes.div_ceil(64) {
            let rest = run.bytes - index * 64;
            let input = run.input.add(index * (CHUNK / 2));
            for row in 0..ROWS {
                let source = run.codes[row].add(index * 64);
                let (codes, scales) = if rest >= 64 {
                    _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(AHEAD).cast());
                    (_mm512_loadu_si512(source.cast()), load_scales::<LAYOUT>(run, row, index))
                } else {
                    let codes = _mm512_maskz_loadu_epi8((1 << rest) - 1, source.cast());
                    (codes, load_last_scales::<LAYOUT>(run, row, index, rest.div_ceil(16)))
                };
                let weights = [
                    _mm512_permutexvar_epi16(codes, table),
                    _mm512_permutexvar_epi16(_mm512_srli_epi16::<4>(codes), table),
                    _mm512_permutexvar_epi16(_mm512_srli_epi16::<8>(codes), table),
                    _mm512_permutexvar_epi16(_mm512_srli_epi16::<12>(codes), table),
                ];
                for i in 0..INPUTS {
                    let input = input.add(i * run.input_stride);
                    let mut partial = _mm512_setzero_ps();
                    for j in 0..4 {
                        let x = words(_mm512_loadu_si512(input.add(j * 16).cast()));
                        partial = _mm512_dpbf16_ps(partial, words(weights[j]), x);
                    }
                    totals[row][i] = _mm512_fmadd_ps(partial, scales, totals[row][i]);
                }
            }
        }
        for (row, totals) in totals.iter().enumerate() {
            for (input, total) in totals.iter().enumerate() {
                *sums.add(row * INPUTS + input) += _mm512_reduce_add_ps(*total);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn words(bits: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes of plain numbers.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}

//! Input rows to tiles of one or several `bf16` terms, for products of unscaled weights; and the
//! codebook's terms.

use std::arch::x86_64::*;

use super::split::terms;
use crate::backend::GemmJob;
use crate::backend::cpu::avx512::transpose;
use crate::backend::cpu::gemm::kernels::{BlockSumPack, TILE_BYTES, TILE_DEPTH, TILE_WIDTH, WINDOW};
use crate::backend::cpu::gemm::row::input_at;
use crate::dtype::FloatType;

/// The exponents of the smallest and largest magnitudes whose products with a codebook's terms, and
/// whose sums over a block, are neither denormal, which AMX takes for zero, nor infinite.
const ORDINARY_EXPONENTS: [u32; 2] = [127 - 90, 127 + 100];

/// The terms of a codebook's values, most significant first, twice: `vpermw` looks at 5 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(crate) fn codebook_terms<const TERMS: usize>(codebook: &[f32; 16]) -> [__m512i; TERMS] {
    // SAFETY: 16 values.
    let values = unsafe { _mm512_loadu_ps(codebook.as_ptr()) };
    terms::<TERMS>(values, values)
}

/// See [`BlockSumKernels::ordinary`](crate::backend::cpu::gemm::kernels::BlockSumKernels::ordinary).
///
/// # Safety
/// The row exists; AVX-512 F, BW, VL, DQ, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(crate) unsafe fn ordinary(job: &GemmJob, row: usize) -> bool {
    let k = job.k as usize;
    let [least, most] = ORDINARY_EXPONENTS;
    let mut strange = 0;
    for start in (0..k).step_by(TILE_DEPTH) {
        // SAFETY: the elements exist.
        let halves = unsafe { load(job, row, start, TILE_DEPTH.min(k - start)) };
        for half in halves {
            let bits = _mm512_slli_epi32::<1>(_mm512_castps_si512(half));
            // One comparison: below the least, the difference wraps around. Zero is left out.
            let above = _mm512_sub_epi32(bits, _mm512_set1_epi32((least << 24) as i32));
            let range = _mm512_set1_epi32(((most - least) << 24) as i32);
            strange |= _mm512_mask_cmpge_epu32_mask(_mm512_test_epi32_mask(bits, bits), above, range);
        }
    }
    strange == 0
}

/// See [`BlockSumKernels::pack`](crate::backend::cpu::gemm::kernels::BlockSumKernels::pack).
///
/// # Safety
/// The pack is as its fields say; AVX-512 F, BW, VL, DQ, BF16.
pub(crate) unsafe fn pack_terms(pack: &BlockSumPack<'_>) {
    // SAFETY: passed on.
    unsafe {
        match pack.terms {
            1 => tiles::<1>(pack),
            2 => tiles::<2>(pack),
            _ => tiles::<3>(pack),
        }
    }
}

/// # Safety
/// As [`pack_terms`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn tiles<const TERMS: usize>(pack: &BlockSumPack<'_>) {
    let all = pack.job.m as usize;
    let mut out = pack.out;
    for start in (0..pack.count.next_multiple_of(WINDOW)).step_by(TILE_DEPTH) {
        for first in (0..all).step_by(TILE_WIDTH) {
            let rows = TILE_WIDTH.min(all - first);
            let mut words = [[_mm512_setzero_si512(); TERMS]; TILE_WIDTH];
            for (row, words) in words.iter_mut().enumerate().take(rows) {
                if start < pack.count {
                    // SAFETY: the elements exist.
                    *words = unsafe { row_terms(pack.job, first + row, pack.start + start) };
                }
            }
            for term in (0..TERMS).step_by(pack.terms_per_tile) {
                let mut columns = [_mm512_setzero_si512(); TILE_WIDTH];
                for i in 0..pack.terms_per_tile.min(TERMS - term) {
                    for row in 0..rows {
                        columns[i * rows + row] = words[row][term + i];
                    }
                }
                for (i, pairs) in transpose(columns).into_iter().enumerate() {
                    // SAFETY: the tile lies inside the packed input.
                    unsafe { _mm512_storeu_si512(out.add(i * 64).cast(), pairs) };
                }
                out = out.wrapping_add(TILE_BYTES);
            }
        }
    }
}

/// 32 elements of a row in the order of decoded weights, by term.
///
/// # Safety
/// The elements exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn row_terms<const TERMS: usize>(job: &GemmJob, row: usize, start: usize) -> [__m512i; TERMS] {
    const ORDER: [u16; TILE_DEPTH] = {
        let mut order = [0; TILE_DEPTH];
        let mut i = 0;
        while i < TILE_DEPTH {
            order[i] = 4 * (i as u16 % 8) + [1, 0, 3, 2][i / 8];
            i += 1;
        }
        order
    };
    // SAFETY: 32 elements; 32 words.
    let ([low, high], order) =
        unsafe { (load(job, row, start, TILE_DEPTH), _mm512_loadu_si512(ORDER.as_ptr().cast())) };
    let mut words = terms::<TERMS>(low, high);
    for words in &mut words {
        *words = _mm512_permutexvar_epi16(order, *words);
    }
    words
}

/// Up to 32 elements of a row as `f32`; zeros beyond `count`.
///
/// # Safety
/// The elements exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn load(job: &GemmJob, row: usize, start: usize, count: usize) -> [__m512; 2] {
    let source = input_at(job, row, start);
    let mask = !0u32 >> (TILE_DEPTH - count);
    // SAFETY: masked-off elements are not read.
    unsafe {
        if job.input_type == FloatType::F32 {
            let low = _mm512_maskz_loadu_ps(mask as u16, source.cast());
            let high = source.wrapping_add(TILE_WIDTH * size_of::<f32>());
            return [low, _mm512_maskz_loadu_ps((mask >> 16) as u16, high.cast())];
        }
        let words = _mm512_maskz_loadu_epi16(mask, source.cast());
        let halves = [_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64::<1>(words)];
        if job.input_type == FloatType::F16 {
            return [_mm512_cvtph_ps(halves[0]), _mm512_cvtph_ps(halves[1])];
        }
        let wide = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        [wide(halves[0]), wide(halves[1])]
    }
}

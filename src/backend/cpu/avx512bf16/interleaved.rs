//! Right operands: pairs of weight rows, interleaved.

use std::arch::x86_64::*;

use super::decode::{Decoder, GROUP, prefetch, tile_row, twice};
use super::split::{terms, terms_twice};
use crate::backend::cpu::avx512::decode_rows;
use crate::backend::cpu::gemm::kernels::*;

/// Right operands: pairs of weight rows, interleaved.
///
/// # Safety
/// As [`decode`](super::decode::decode).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn interleaved_rows<const TERMS: usize, const BY64: bool>(panel: &PanelDecode<'_>) {
    let (weight, k) = (&panel.job.weight, panel.job.k as usize);
    let decoder = Decoder::new(weight);
    for pair in 0..panel.count.next_multiple_of(GROUP) / 2 {
        let mut weights = [[[_mm512_setzero_si512(); 2]; TERMS]; 2];
        for (i, weights) in weights.iter_mut().enumerate() {
            let row = pair * 2 + i;
            if row < panel.count {
                let first = (panel.start + row) * k + panel.column;
                prefetch(weight, first + panel.ahead);
                // SAFETY: the elements exist.
                *weights = unsafe { decoder.decode::<TERMS, BY64>(first, panel.columns) };
            }
        }
        // SAFETY: the tiles lie inside the strips.
        unsafe { store_interleaved(panel, pair, &weights) };
    }
}

/// [`interleaved_rows`] where every row has the same number of blocks with plain scales.
///
/// # Safety
/// As [`even_rows`](super::rows::even_rows).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn even_interleaved_rows<const TERMS: usize>(panel: &PanelDecode<'_>, absmax: *const f32) {
    let (weight, k) = (&panel.job.weight, panel.job.k as usize);
    let decoder = Decoder::new(weight);
    let shift = weight.block_size.shift();
    let first = panel.start * k + panel.column;
    let mut codes = weight.codes.wrapping_add(first / 2);
    let mut scale = absmax.wrapping_add(first >> shift);
    let (codes_ahead, scales_ahead) = (panel.ahead / 2, panel.ahead >> shift);
    for pair in 0..panel.count.next_multiple_of(GROUP) / 2 {
        let mut weights = [[[_mm512_setzero_si512(); 2]; TERMS]; 2];
        for (i, weights) in weights.iter_mut().enumerate() {
            if pair * 2 + i >= panel.count {
                break;
            }
            _mm_prefetch::<_MM_HINT_T1>(codes.wrapping_add(codes_ahead).cast());
            _mm_prefetch::<_MM_HINT_T1>(scale.wrapping_add(scales_ahead).cast());
            // SAFETY: the elements exist.
            let (indices, scale_here) = unsafe { (decoder.indices(twice(codes)), *scale) };
            let scaled = _mm512_mul_ps(decoder.codebook, _mm512_set1_ps(scale_here));
            for (words, table) in weights.iter_mut().zip(&terms_twice::<TERMS>(scaled)) {
                words[0] = _mm512_permutexvar_epi16(indices[0], *table);
                words[1] = _mm512_permutexvar_epi16(indices[1], *table);
            }
            codes = codes.wrapping_add(k / 2);
            scale = scale.wrapping_add(k >> shift);
        }
        // SAFETY: the tiles lie inside the strips.
        unsafe { store_interleaved(panel, pair, &weights) };
    }
}

/// Stores two decoded rows of 64 weights as row `pair` of four tiles.
///
/// # Safety
/// The tiles lie inside the strips.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn store_interleaved<const TERMS: usize>(
    panel: &PanelDecode<'_>,
    pair: usize,
    weights: &[[[__m512i; 2]; TERMS]; 2],
) {
    let step = pair / TILE_WIDTH * TILE_BYTES;
    let [even_row, odd_row] = weights;
    for (term, (evens, odds)) in even_row.iter().zip(odd_row).enumerate() {
        for (half, (even, odd)) in evens.iter().zip(odds).enumerate() {
            let first = tile_row(panel, half * 2, term, pair % TILE_WIDTH).wrapping_add(step);
            let second = tile_row(panel, half * 2 + 1, term, pair % TILE_WIDTH).wrapping_add(step);
            // SAFETY: the caller's contract.
            unsafe {
                _mm512_storeu_si512(first.cast(), _mm512_unpacklo_epi16(*even, *odd));
                _mm512_storeu_si512(second.cast(), _mm512_unpackhi_epi16(*even, *odd));
            }
        }
    }
}

/// Right operands with columns in their own order, from anywhere in the stream.
///
/// # Safety
/// As [`decode`](super::decode::decode).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn natural_interleaved_rows<const TERMS: usize>(panel: &PanelDecode<'_>) {
    let (weight, k) = (&panel.job.weight, panel.job.k as usize);
    let mut values = [[0f32; GROUP]; 2];
    for pair in 0..panel.count.next_multiple_of(GROUP) / 2 {
        for (i, values) in values.iter_mut().enumerate() {
            let row = pair * 2 + i;
            if row < panel.count {
                let first = (panel.start + row) * k + panel.column;
                let (count, out) = (panel.columns, values.as_mut_ptr());
                let run = RowRun { weight, first, count, rows: 1, row_length: k, out, stride: 0 };
                // SAFETY: the elements exist.
                unsafe { decode_rows(&run) };
            } else {
                values.fill(0.0);
            }
        }
        for tile in 0..PANEL_TILES {
            // SAFETY: the tiles lie inside the strip.
            unsafe {
                let even = _mm512_loadu_ps(values[0].as_ptr().add(tile * TILE_WIDTH));
                let odd = _mm512_loadu_ps(values[1].as_ptr().add(tile * TILE_WIDTH));
                for (term, words) in terms::<TERMS>(even, odd).into_iter().enumerate() {
                    let even = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(words));
                    let odd = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(words));
                    let pairs = _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd));
                    let step = pair / TILE_WIDTH * TILE_BYTES;
                    let out = tile_row(panel, tile, term, pair % TILE_WIDTH).wrapping_add(step);
                    _mm512_storeu_si512(out.cast(), pairs);
                }
            }
        }
    }
}

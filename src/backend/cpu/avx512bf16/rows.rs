//! Left operands: weight rows, 16 to a tile.

use std::arch::x86_64::*;

use super::decode::{DEPTH, Decoder, GROUP, prefetch, tile_row, twice};
use super::split::{terms, terms_twice};
use crate::backend::cpu::avx512::decode_rows;
use crate::backend::cpu::gemm::kernels::*;

/// Left operands: weight rows.
///
/// # Safety
/// As [`decode`](super::decode::decode).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn rows<const TERMS: usize, const BY64: bool>(panel: &PanelDecode<'_>) {
    let (weight, k) = (&panel.job.weight, panel.job.k as usize);
    let decoder = Decoder::new(weight);
    for column in 0..panel.columns {
        let first = (panel.column + column) * k + panel.start;
        let mut out = tile_row(panel, column / TILE_WIDTH, 0, column % TILE_WIDTH);
        prefetch(weight, first + panel.ahead);
        for offset in (0..panel.count).step_by(GROUP) {
            let count = GROUP.min(panel.count - offset);
            // SAFETY: the elements exist; the tiles lie inside the strips.
            unsafe {
                let weights = decoder.decode::<TERMS, BY64>(first + offset, count);
                for (term, words) in weights.iter().enumerate() {
                    let out = out.add(term * STRIP_BYTES);
                    _mm512_storeu_si512(out.cast(), words[0]);
                    _mm512_storeu_si512(out.add(TILE_BYTES).cast(), words[1]);
                }
            }
            out = out.wrapping_add(2 * TILE_BYTES);
        }
    }
}

/// [`rows`] where every row has the same number of blocks with plain scales: addresses advance
/// evenly from row to row, which saves instructions.
///
/// # Safety
/// As [`decode`](super::decode::decode); the row length is a multiple of the block size and of 64; the scales are plain.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn even_rows<const TERMS: usize>(panel: &PanelDecode<'_>, absmax: *const f32) {
    for tile in 0..panel.columns.div_ceil(TILE_WIDTH) {
        for offset in (0..panel.count).step_by(2 * GROUP) {
            // SAFETY: passed on. Two groups fill a cache line of codes.
            unsafe {
                if panel.count - offset > GROUP {
                    even_tile::<TERMS, 2>(panel, absmax, tile, offset);
                } else {
                    even_tile::<TERMS, 1>(panel, absmax, tile, offset);
                }
            }
        }
    }
}

/// The rows of a tile, `GROUPS` times 64 elements from `offset` on.
///
/// # Safety
/// As [`even_rows`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn even_tile<const TERMS: usize, const GROUPS: usize>(
    panel: &PanelDecode<'_>,
    absmax: *const f32,
    tile: usize,
    offset: usize,
) {
    let (weight, k) = (&panel.job.weight, panel.job.k as usize);
    let decoder = Decoder::new(weight);
    let shift = weight.block_size.shift();
    let column = tile * TILE_WIDTH;
    let first = (panel.column + column) * k + panel.start + offset;
    let mut codes = weight.codes.wrapping_add(first / 2);
    let mut scale = absmax.wrapping_add(first >> shift);
    let mut last_scale = absmax.wrapping_add((first + (GROUPS - 1) * GROUP) >> shift);
    let mut out = tile_row(panel, tile, 0, 0).wrapping_add(offset / TILE_DEPTH * TILE_BYTES);
    let (codes_ahead, scales_ahead) = (panel.ahead / 2, panel.ahead >> shift);
    for _ in 0..TILE_WIDTH.min(panel.columns - column) {
        _mm_prefetch::<_MM_HINT_T1>(codes.wrapping_add(codes_ahead).cast());
        _mm_prefetch::<_MM_HINT_T1>(scale.wrapping_add(scales_ahead).cast());
        for group in 0..GROUPS {
            // SAFETY: the elements exist; the tiles lie inside the strips.
            unsafe {
                let out = out.add(group * 2 * TILE_BYTES);
                let indices = decoder.indices(twice(codes.add(group * GROUP / 2)));
                let scale = if group == 0 { scale } else { last_scale };
                let scaled = _mm512_mul_ps(decoder.codebook, _mm512_set1_ps(*scale));
                for (term, table) in terms_twice::<TERMS>(scaled).iter().enumerate() {
                    let out = out.add(term * STRIP_BYTES);
                    _mm512_storeu_si512(out.cast(), _mm512_permutexvar_epi16(indices[0], *table));
                    let second = _mm512_permutexvar_epi16(indices[1], *table);
                    _mm512_storeu_si512(out.add(TILE_BYTES).cast(), second);
                }
            }
        }
        codes = codes.wrapping_add(k / 2);
        scale = scale.wrapping_add(k >> shift);
        last_scale = last_scale.wrapping_add(k >> shift);
        out = out.wrapping_add(64);
    }
}

/// Left operands in their own order, from anywhere in the stream.
///
/// # Safety
/// As [`decode`](super::decode::decode).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn natural_rows<const TERMS: usize>(panel: &PanelDecode<'_>) {
    let k = panel.job.k as usize;
    let mut values = [0f32; DEPTH];
    for column in 0..panel.columns {
        let first = (panel.column + column) * k + panel.start;
        let (tile, row) = (column / TILE_WIDTH, column % TILE_WIDTH);
        // SAFETY: the elements exist; the tiles lie inside the strip.
        unsafe {
            let weight = &panel.job.weight;
            let (count, out) = (panel.count, values.as_mut_ptr());
            decode_rows(&RowRun { weight, first, count, rows: 1, row_length: k, out, stride: 0 });
            for step in 0..panel.count.div_ceil(GROUP) * 2 {
                let source = values.as_ptr().add(step * TILE_DEPTH);
                let words = terms::<TERMS>(_mm512_loadu_ps(source), _mm512_loadu_ps(source.add(16)));
                for (term, words) in words.iter().enumerate() {
                    let out = tile_row(panel, tile, term, row).add(step * TILE_BYTES);
                    _mm512_storeu_si512(out.cast(), *words);
                }
            }
        }
    }
}

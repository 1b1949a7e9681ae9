//! Input rows to tiles.

use std::arch::x86_64::*;

use super::split::terms;
use crate::backend::cpu::avx512::transpose;
use crate::backend::cpu::gemm::kernels::{STRIP_BYTES, StripPack, TILE_BYTES, TILE_WIDTH, TileOrder};
use crate::backend::cpu::gemm::row::input_at;
use crate::dtype::FloatType;

/// Elements of two tiles.
const GROUP: usize = 64;

/// See [`TileKernels::pack`](crate::backend::cpu::gemm::kernels::TileKernels::pack).
///
/// # Safety
/// The strip is as its fields say; AVX-512 F, BW, VL, DQ, BF16.
pub(crate) unsafe fn pack(strip: &StripPack<'_>) {
    // SAFETY: passed on.
    unsafe {
        match (strip.job.transpose, strip.terms) {
            (false, 1) => pack_columns::<1>(strip),
            (false, _) => pack_columns::<2>(strip),
            (true, 1) => pack_rows::<1>(strip),
            (true, _) => pack_rows::<2>(strip),
        }
    }
}

/// Words of two tiles, by term and tile.
type Pair<const TERMS: usize> = [[__m512i; 2]; TERMS];

/// Right operands: pairs of elements of all rows side by side, in the order of decoded weights.
///
/// # Safety
/// As [`pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn pack_columns<const TERMS: usize>(strip: &StripPack<'_>) {
    let decoded = strip.order != TileOrder::Natural;
    for (group, offset) in (0..strip.count).step_by(GROUP).enumerate() {
        let count = GROUP.min(strip.count - offset);
        let mut tiles = [[[_mm512_setzero_si512(); TILE_WIDTH]; 2]; TERMS];
        for row in 0..strip.rows {
            // SAFETY: the elements exist.
            let pair = unsafe { load::<TERMS>(strip, row, offset, count) };
            for (tiles, pair) in tiles.iter_mut().zip(&pair) {
                let pair = if decoded { into_decoded_order(pair) } else { *pair };
                tiles[0][row] = pair[0];
                tiles[1][row] = pair[1];
            }
        }
        for (term, tiles) in tiles.into_iter().enumerate() {
            for (tile, rows) in tiles.into_iter().enumerate() {
                let out = strip.out.wrapping_add(term * STRIP_BYTES + (group * 2 + tile) * TILE_BYTES);
                for (i, pairs) in transpose(rows).into_iter().enumerate() {
                    // SAFETY: the tile lies inside the strip.
                    unsafe { _mm512_storeu_si512(out.add(i * 64).cast(), pairs) };
                }
            }
        }
    }
}

/// Left operands: rows as they are.
///
/// # Safety
/// As [`pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn pack_rows<const TERMS: usize>(strip: &StripPack<'_>) {
    for (group, offset) in (0..strip.count).step_by(GROUP).enumerate() {
        let count = GROUP.min(strip.count - offset);
        for row in 0..TILE_WIDTH {
            let mut pair: Pair<TERMS> = [[_mm512_setzero_si512(); 2]; TERMS];
            if row < strip.rows {
                // SAFETY: the elements exist.
                pair = unsafe { load::<TERMS>(strip, row, offset, count) };
            }
            for (term, words) in pair.iter().enumerate() {
                let out = strip.out.wrapping_add(term * STRIP_BYTES + group * 2 * TILE_BYTES + row * 64);
                // SAFETY: the tiles lie inside the strip, whose length is a multiple of two tiles.
                unsafe {
                    _mm512_storeu_si512(out.cast(), words[0]);
                    _mm512_storeu_si512(out.add(TILE_BYTES).cast(), words[1]);
                }
            }
        }
    }
}

/// Up to 64 elements of a row as `bf16` terms, in their own order; zeros beyond `count`.
///
/// # Safety
/// The row and its elements exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn load<const TERMS: usize>(
    strip: &StripPack<'_>,
    row: usize,
    offset: usize,
    count: usize,
) -> Pair<TERMS> {
    let source = input_at(strip.job, strip.row + row, strip.start + offset);
    let mask = !0u64 >> (GROUP - count);
    let mut pair = [[_mm512_setzero_si512(); 2]; TERMS];
    for half in 0..2 {
        let source = source.wrapping_add(half * GROUP);
        let mask = (mask >> (half * 32)) as u32;
        // SAFETY: masked-off elements are not read.
        let words = unsafe { _mm512_maskz_loadu_epi16(mask, source.cast()) };
        if strip.job.input_type == FloatType::Bf16 {
            pair[0][half] = words;
        } else {
            let low = _mm512_cvtph_ps(_mm512_castsi512_si256(words));
            let high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(words));
            let split = terms::<TERMS>(low, high);
            for (pair, words) in pair.iter_mut().zip(&split) {
                pair[half] = *words;
            }
        }
    }
    pair
}

/// The order in which decoding yields 64 weights: of every four, the second, the first; then, in
/// the second tile, the fourth, the third.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn into_decoded_order(pair: &[__m512i; 2]) -> [__m512i; 2] {
    const fn order(upper: u16) -> [u16; 32] {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 16 {
            order[i] = i as u16 * 4 + upper + 1;
            order[i + 16] = i as u16 * 4 + upper;
            i += 1;
        }
        order
    }
    const ORDERS: [[u16; 32]; 2] = [order(0), order(2)];
    let mut tiles = *pair;
    for (tile, order) in tiles.iter_mut().zip(&ORDERS) {
        // SAFETY: 32 words.
        let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
        *tile = _mm512_permutex2var_epi16(pair[0], order, pair[1]);
    }
    tiles
}

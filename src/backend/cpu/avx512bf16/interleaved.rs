//! Right operands: pairs of weight rows, interleaved.

use std::arch::x86_64::*;

use super::decode::{Decoder, GROUP, twice};
use super::split::{terms, terms_twice};
use crate::backend::Scales;
use crate::backend::cpu::avx512::decode_rows;
use crate::backend::cpu::gemm::kernels::*;

/// See [`TileKernels::decode_pairs`].
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ, BF16.
pub(crate) unsafe fn decode_pairs(run: &PairDecode<'_>) {
    // SAFETY: passed on.
    unsafe {
        match run.terms {
            1 => decode_terms::<1>(run),
            _ => decode_terms::<2>(run),
        }
    }
}

/// # Safety
/// As [`decode_pairs`].
unsafe fn decode_terms<const TERMS: usize>(run: &PairDecode<'_>) {
    let weight = &run.job.weight;
    let whole_blocks = run.job.k.is_multiple_of(weight.block_size.get() as u64);
    // SAFETY: passed on.
    unsafe {
        match (run.order, weight.scales) {
            (TileOrder::By64, Scales::Plain { absmax }) if whole_blocks => even::<TERMS>(run, absmax),
            (TileOrder::By64, _) => pairs::<TERMS, true>(run),
            (TileOrder::By32, _) => pairs::<TERMS, false>(run),
            (TileOrder::Natural, _) => natural::<TERMS>(run),
        }
    }
}

/// Where row `pair` of the tiles of a strip begins.
#[inline]
fn tile_row(run: &PairDecode<'_>, tile: usize, term: usize, pair: usize) -> *mut u8 {
    let step = pair / TILE_WIDTH * TILE_BYTES + pair % TILE_WIDTH * 64;
    run.out.wrapping_add((tile * run.terms + term) * STRIP_BYTES + step)
}

/// Fetches the next line of codes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn advance(fetch: &mut Fetch) {
    _mm_prefetch::<_MM_HINT_T1>(fetch.next.cast());
    fetch.next = fetch.next.wrapping_add(64);
    fetch.left -= 1;
    if fetch.left == 0 {
        fetch.next = fetch.next.wrapping_add(fetch.skip);
        fetch.left = fetch.lines;
    }
}

/// # Safety
/// As [`decode_pairs`]; rows begin at multiples of 64 if `BY64`, else of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn pairs<const TERMS: usize, const BY64: bool>(run: &PairDecode<'_>) {
    let (weight, k) = (&run.job.weight, run.job.k as usize);
    let decoder = Decoder::new(weight);
    let mut fetch = run.fetch;
    for pair in 0..run.rows.next_multiple_of(GROUP) / 2 {
        advance(&mut fetch);
        let mut weights = [[[_mm512_setzero_si512(); 2]; TERMS]; 2];
        for (i, weights) in weights.iter_mut().enumerate() {
            let row = pair * 2 + i;
            if row < run.rows {
                let first = (run.row + row) * k + run.column;
                weight.scales.prefetch((first + run.scales_ahead) >> weight.block_size.shift());
                // SAFETY: the elements exist.
                *weights = unsafe { decoder.decode::<TERMS, BY64>(first, run.columns) };
            }
        }
        // SAFETY: the tiles lie inside the strips.
        unsafe { store(run, pair, &weights) };
    }
}

/// [`pairs`] where every row has the same number of blocks with plain scales: addresses advance
/// evenly from row to row, which saves instructions.
///
/// # Safety
/// As [`decode_pairs`]; rows are a multiple of the block size and of 64 long; the scales are plain.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn even<const TERMS: usize>(run: &PairDecode<'_>, absmax: *const f32) {
    let (weight, k) = (&run.job.weight, run.job.k as usize);
    let decoder = Decoder::new(weight);
    let shift = weight.block_size.shift();
    let first = run.row * k + run.column;
    let mut codes = weight.codes.wrapping_add(first / 2);
    let mut scale = absmax.wrapping_add(first >> shift);
    let scales_ahead = run.scales_ahead >> shift;
    let mut fetch = run.fetch;
    for pair in 0..run.rows.next_multiple_of(GROUP) / 2 {
        advance(&mut fetch);
        let mut weights = [[[_mm512_setzero_si512(); 2]; TERMS]; 2];
        for (i, weights) in weights.iter_mut().enumerate() {
            if pair * 2 + i >= run.rows {
                break;
            }
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
        unsafe { store(run, pair, &weights) };
    }
}

/// Stores two decoded rows of 64 weights as row `pair` of four tiles.
///
/// # Safety
/// The tiles lie inside the strips.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn store<const TERMS: usize>(run: &PairDecode<'_>, pair: usize, weights: &[[[__m512i; 2]; TERMS]; 2]) {
    let [even_row, odd_row] = weights;
    for (term, (evens, odds)) in even_row.iter().zip(odd_row).enumerate() {
        for (half, (even, odd)) in evens.iter().zip(odds).enumerate() {
            // SAFETY: the caller's contract.
            unsafe {
                let (first, second) = (half * 2, half * 2 + 1);
                let words = _mm512_unpacklo_epi16(*even, *odd);
                _mm512_storeu_si512(tile_row(run, first, term, pair).cast(), words);
                let words = _mm512_unpackhi_epi16(*even, *odd);
                _mm512_storeu_si512(tile_row(run, second, term, pair).cast(), words);
            }
        }
    }
}

/// Columns in their own order, from anywhere in the stream.
///
/// # Safety
/// As [`decode_pairs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn natural<const TERMS: usize>(run: &PairDecode<'_>) {
    let (weight, k) = (&run.job.weight, run.job.k as usize);
    let mut values = [[0f32; GROUP]; 2];
    for pair in 0..run.rows.next_multiple_of(GROUP) / 2 {
        for (i, values) in values.iter_mut().enumerate() {
            let row = pair * 2 + i;
            if row < run.rows {
                let first = (run.row + row) * k + run.column;
                let (count, out) = (run.columns, values.as_mut_ptr());
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
                    _mm512_storeu_si512(tile_row(run, tile, term, pair).cast(), pairs);
                }
            }
        }
    }
}

//! Packed codes to tiles of `bf16` weights.
//!
//! A block's 16 possible weights are computed first, rounded, and then looked up: `vpermw` decodes
//! 32 nibbles at a time and ignores all but the lowest 5 bits of an index. 32 bytes of codes fill
//! both halves of a vector; shifting one half by 0 (then 8) bits and the other by 4 (12) yields the
//! 64 weights in two vectors.

use std::arch::x86_64::*;

use super::split::terms;
use crate::backend::WeightRef;
use crate::backend::cpu::avx512::decode_rows;
use crate::backend::cpu::gemm::kernels::*;

/// Elements of two tiles, decoded together.
const GROUP: usize = 64;
/// Elements of a strip.
const DEPTH: usize = TILE_STEPS * TILE_DEPTH;

/// See [`TileKernels::decode`].
///
/// # Safety
/// The panel is as its fields say; AVX-512 F, BW, VL, DQ, BF16.
pub(crate) unsafe fn decode(panel: &PanelDecode<'_>) {
    macro_rules! by_terms {
        ($function:ident $(, $order:literal)?) => {
            match panel.terms {
                1 => $function::<1 $(, $order)?>(panel),
                _ => $function::<2 $(, $order)?>(panel),
            }
        };
    }
    // SAFETY: passed on.
    unsafe {
        match (panel.job.transpose, panel.order) {
            (false, TileOrder::By64) => by_terms!(rows, true),
            (false, TileOrder::By32) => by_terms!(rows, false),
            (false, TileOrder::Natural) => by_terms!(natural_rows),
            (true, TileOrder::By64) => by_terms!(interleaved_rows, true),
            (true, TileOrder::By32) => by_terms!(interleaved_rows, false),
            (true, TileOrder::Natural) => by_terms!(natural_interleaved_rows),
        }
    }
}

/// Where tile row `row` (of pairs, in a right operand) of a term begins, in the tiles of step 0.
fn tile_row(panel: &PanelDecode<'_>, tile: usize, term: usize, row: usize) -> *mut u8 {
    panel.out.wrapping_add((tile * panel.terms + term) * STRIP_BYTES + row * 64)
}

/// Left operands: weight rows.
///
/// # Safety
/// As [`decode`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn rows<const TERMS: usize, const BY64: bool>(panel: &PanelDecode<'_>) {
    let (weight, k) = (&panel.job.weight, panel.job.k as usize);
    let tables = Tables::new(weight);
    for column in 0..panel.columns {
        let first = (panel.column + column) * k + panel.start;
        let (tile, row) = (column / TILE_WIDTH, column % TILE_WIDTH);
        for offset in (0..panel.count).step_by(GROUP) {
            let count = GROUP.min(panel.count - offset);
            // SAFETY: the elements exist; the tiles lie inside the strip.
            unsafe {
                let weights = tables.decode::<TERMS, BY64>(first + offset, count);
                for (term, words) in weights.iter().enumerate() {
                    let out = tile_row(panel, tile, term, row).add(offset / TILE_DEPTH * TILE_BYTES);
                    _mm512_storeu_si512(out.cast(), words[0]);
                    _mm512_storeu_si512(out.add(TILE_BYTES).cast(), words[1]);
                }
            }
        }
    }
}

/// Right operands: pairs of weight rows, interleaved.
///
/// # Safety
/// As [`decode`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn interleaved_rows<const TERMS: usize, const BY64: bool>(panel: &PanelDecode<'_>) {
    let (weight, k) = (&panel.job.weight, panel.job.k as usize);
    let tables = Tables::new(weight);
    for pair in 0..panel.count.next_multiple_of(GROUP) / 2 {
        let mut weights = [[[_mm512_setzero_si512(); 2]; TERMS]; 2];
        for (i, weights) in weights.iter_mut().enumerate() {
            let row = pair * 2 + i;
            if row < panel.count {
                let first = (panel.start + row) * k + panel.column;
                // SAFETY: the elements exist.
                *weights = unsafe { tables.decode::<TERMS, BY64>(first, panel.columns) };
            }
        }
        let step = pair / TILE_WIDTH * TILE_BYTES;
        for term in 0..TERMS {
            for half in 0..2 {
                let (even, odd) = (weights[0][term][half], weights[1][term][half]);
                let tile =
                    |i: usize| tile_row(panel, half * 2 + i, term, pair % TILE_WIDTH).wrapping_add(step);
                // SAFETY: the tiles lie inside the strip.
                unsafe {
                    _mm512_storeu_si512(tile(0).cast(), _mm512_unpacklo_epi16(even, odd));
                    _mm512_storeu_si512(tile(1).cast(), _mm512_unpackhi_epi16(even, odd));
                }
            }
        }
    }
}

/// What decoding needs throughout.
struct Tables<'a> {
    weight: &'a WeightRef,
    codebook: __m512,
}

impl<'a> Tables<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    fn new(weight: &'a WeightRef) -> Self {
        // SAFETY: 16 values.
        Tables { weight, codebook: unsafe { _mm512_loadu_ps(weight.codebook.as_ptr()) } }
    }

    /// The elements `first..first + 64`, of which `count` exist (a multiple of 32; all if `BY64`),
    /// by term and tile.
    ///
    /// # Safety
    /// The elements exist; `first` is a multiple of 64 if `BY64`, else of 32.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    unsafe fn decode<const TERMS: usize, const BY64: bool>(
        &self,
        first: usize,
        count: usize,
    ) -> [[__m512i; 2]; TERMS] {
        let weight = self.weight;
        let shift = weight.block_size.shift();
        let low_half = _mm512_set1_epi16(4);
        let shifts = _mm512_mask_mov_epi16(low_half, 0xffff, _mm512_setzero_si512());
        let mut decoded = [[_mm512_setzero_si512(); 2]; TERMS];
        // SAFETY: the caller's contract.
        unsafe {
            let source = weight.codes.add(first / 2);
            _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(DEPTH / 2).cast());
            let tables;
            let mut indices;
            if BY64 {
                let codes = _mm512_broadcast_i64x4(_mm256_loadu_si256(source.cast()));
                let values = _mm512_mul_ps(self.codebook, _mm512_set1_ps(weight.scales.get(first >> shift)));
                tables = terms::<TERMS>(values, values);
                indices = [_mm512_srlv_epi16(codes, shifts), _mm512_setzero_si512()];
                indices[1] = _mm512_srlv_epi16(codes, _mm512_add_epi16(shifts, _mm512_set1_epi16(8)));
            } else {
                let bytes = if count > 32 { !0 } else { 0xffff };
                let codes = _mm512_broadcast_i64x4(_mm256_maskz_loadu_epi8(bytes, source.cast()));
                let low = _mm512_set1_ps(weight.scales.get(first >> shift));
                let high = if count > 32 { weight.scales.get((first + 32) >> shift) } else { 0.0 };
                let high = _mm512_set1_ps(high);
                tables =
                    terms::<TERMS>(_mm512_mul_ps(self.codebook, low), _mm512_mul_ps(self.codebook, high));
                // The second 32 weights, in words 8 to 15 of each half, use the upper table.
                let upper = _mm512_maskz_mov_epi16(0xff00_ff00, _mm512_set1_epi16(16));
                indices = [_mm512_srlv_epi16(codes, shifts), _mm512_setzero_si512()];
                indices[1] = _mm512_srlv_epi16(codes, _mm512_add_epi16(shifts, _mm512_set1_epi16(8)));
                for index in &mut indices {
                    // upper | (index & 15)
                    *index = _mm512_ternarylogic_epi32::<0xf8>(upper, *index, _mm512_set1_epi16(15));
                }
            }
            for (decoded, table) in decoded.iter_mut().zip(&tables) {
                decoded[0] = _mm512_permutexvar_epi16(indices[0], *table);
                decoded[1] = _mm512_permutexvar_epi16(indices[1], *table);
            }
        }
        decoded
    }
}

/// Left operands in their own order, from anywhere in the stream.
///
/// # Safety
/// As [`decode`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn natural_rows<const TERMS: usize>(panel: &PanelDecode<'_>) {
    let k = panel.job.k as usize;
    let mut values = [0f32; DEPTH];
    for column in 0..panel.columns {
        let first = (panel.column + column) * k + panel.start;
        let (tile, row) = (column / TILE_WIDTH, column % TILE_WIDTH);
        // SAFETY: the elements exist; the tiles lie inside the strip.
        unsafe {
            let weight = &panel.job.weight;
            decode_rows(&RowRun { weight, first, count: panel.count, out: values.as_mut_ptr() });
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

/// Right operands with columns in their own order, from anywhere in the stream.
///
/// # Safety
/// As [`decode`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn natural_interleaved_rows<const TERMS: usize>(panel: &PanelDecode<'_>) {
    let (weight, k) = (&panel.job.weight, panel.job.k as usize);
    let mut values = [[0f32; GROUP]; 2];
    for pair in 0..panel.count.next_multiple_of(GROUP) / 2 {
        for (i, values) in values.iter_mut().enumerate() {
            let row = pair * 2 + i;
            if row < panel.count {
                let first = (panel.start + row) * k + panel.column;
                let run = RowRun { weight, first, count: panel.columns, out: values.as_mut_ptr() };
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

//! Packed codes to tiles of `bf16` weights.
//!
//! The 16 possible weights of a block are computed first, rounded, and then looked up: `vpermw`
//! decodes 32 nibbles at a time and ignores all but the lowest 5 bits of an index. 32 bytes of codes
//! fill both halves of a vector; shifting one half by 0 (then 8) bits and the other by 4 (12) yields
//! the 64 weights in two vectors.

use std::arch::asm;
use std::arch::x86_64::*;

use super::split::terms;
use crate::backend::cpu::avx512::decode_rows;
use crate::backend::cpu::gemm::kernels::*;
use crate::backend::{Scales, WeightRef};

/// Elements of two tiles, decoded together.
const GROUP: usize = 64;
/// Elements of a strip.
const DEPTH: usize = TILE_STEPS * TILE_DEPTH;

/// See [`TileKernels::decode`].
///
/// # Safety
/// The panel is as its fields say; AVX-512 F, BW, VL, DQ, BF16.
pub(crate) unsafe fn decode(panel: &PanelDecode<'_>) {
    // SAFETY: passed on.
    unsafe {
        match panel.terms {
            1 => decode_terms::<1>(panel),
            _ => decode_terms::<2>(panel),
        }
    }
}

/// # Safety
/// As [`decode`].
unsafe fn decode_terms<const TERMS: usize>(panel: &PanelDecode<'_>) {
    let job = panel.job;
    let whole_blocks = job.k.is_multiple_of(job.weight.block_size.get() as u64);
    // SAFETY: passed on.
    unsafe {
        match (job.transpose, panel.order, job.weight.scales) {
            (false, TileOrder::By64, Scales::Plain { absmax }) if whole_blocks => {
                even_rows::<TERMS>(panel, absmax)
            }
            (false, TileOrder::By64, _) => rows::<TERMS, true>(panel),
            (false, TileOrder::By32, _) => rows::<TERMS, false>(panel),
            (false, TileOrder::Natural, _) => natural_rows::<TERMS>(panel),
            (true, TileOrder::By64, _) => interleaved_rows::<TERMS, true>(panel),
            (true, TileOrder::By32, _) => interleaved_rows::<TERMS, false>(panel),
            (true, TileOrder::Natural, _) => natural_interleaved_rows::<TERMS>(panel),
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
/// As [`decode`]; the row length is a multiple of the block size and of 64; the scales are plain.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn even_rows<const TERMS: usize>(panel: &PanelDecode<'_>, absmax: *const f32) {
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
                for (term, table) in terms::<TERMS>(scaled, scaled).iter().enumerate() {
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

/// Right operands: pairs of weight rows, interleaved.
///
/// # Safety
/// As [`decode`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn interleaved_rows<const TERMS: usize, const BY64: bool>(panel: &PanelDecode<'_>) {
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
        let step = pair / TILE_WIDTH * TILE_BYTES;
        let [even_row, odd_row] = weights;
        for (term, (evens, odds)) in even_row.iter().zip(&odd_row).enumerate() {
            for (half, (even, odd)) in evens.iter().zip(odds).enumerate() {
                let tile =
                    |i: usize| tile_row(panel, half * 2 + i, term, pair % TILE_WIDTH).wrapping_add(step);
                // SAFETY: the tiles lie inside the strip.
                unsafe {
                    _mm512_storeu_si512(tile(0).cast(), _mm512_unpacklo_epi16(*even, *odd));
                    _mm512_storeu_si512(tile(1).cast(), _mm512_unpackhi_epi16(*even, *odd));
                }
            }
        }
    }
}

/// What decoding needs throughout.
struct Decoder<'a> {
    weight: &'a WeightRef,
    codebook: __m512,
    /// By how much the words are shifted for the first and the second tile.
    shifts: [__m512i; 2],
}

impl<'a> Decoder<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    fn new(weight: &'a WeightRef) -> Self {
        let shift = _mm512_maskz_mov_epi16(0xffff_0000, _mm512_set1_epi16(4));
        let shifts = [shift, _mm512_add_epi16(shift, _mm512_set1_epi16(8))];
        // SAFETY: 16 values.
        Decoder { weight, codebook: unsafe { _mm512_loadu_ps(weight.codebook.as_ptr()) }, shifts }
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
        let (scales, shift) = (&self.weight.scales, self.weight.block_size.shift());
        let source = self.weight.codes.wrapping_add(first / 2);
        let second = if !BY64 && count > 32 { first + 32 } else { first };
        let bytes = if count > 32 { !0 } else { 0xffff };
        // SAFETY: the caller's contract; masked-off bytes are not read.
        let (codes, low, high) = unsafe {
            let codes = match BY64 {
                true => twice(source),
                false => _mm512_broadcast_i64x4(_mm256_maskz_loadu_epi8(bytes, source.cast())),
            };
            (codes, scales.get(first >> shift), scales.get(second >> shift))
        };
        let mut indices = self.indices(codes);
        if !BY64 {
            // The second 32 weights, in words 8 to 15 of each half, use the upper half of the table.
            let upper = _mm512_maskz_mov_epi16(0xff00_ff00, _mm512_set1_epi16(16));
            for index in &mut indices {
                // upper | (index & 15)
                *index = _mm512_ternarylogic_epi32::<0xf8>(upper, *index, _mm512_set1_epi16(15));
            }
        }
        let low = _mm512_mul_ps(self.codebook, _mm512_set1_ps(low));
        let high = if BY64 { low } else { _mm512_mul_ps(self.codebook, _mm512_set1_ps(high)) };
        let mut decoded = [[_mm512_setzero_si512(); 2]; TERMS];
        for (decoded, table) in decoded.iter_mut().zip(&terms::<TERMS>(low, high)) {
            decoded[0] = _mm512_permutexvar_epi16(indices[0], *table);
            decoded[1] = _mm512_permutexvar_epi16(indices[1], *table);
        }
        decoded
    }

    /// 32 bytes, given twice, shifted for both tiles.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    fn indices(&self, codes: __m512i) -> [__m512i; 2] {
        [_mm512_srlv_epi16(codes, self.shifts[0]), _mm512_srlv_epi16(codes, self.shifts[1])]
    }
}

/// 32 bytes in both halves of a vector.
///
/// # Safety
/// The bytes exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn twice(source: *const u8) -> __m512i {
    let bytes;
    // The intrinsic becomes a load and an insertion, which competes with `vpermw` for its ports.
    // SAFETY: reads 32 bytes.
    unsafe {
        asm!("vbroadcasti64x4 {}, [{}]", out(zmm_reg) bytes, in(reg) source,
             options(pure, readonly, nostack, preserves_flags));
    }
    bytes
}

/// Fetches codes and scales that will be decoded later, into the second-level cache: rows whose
/// length is a power of two crowd each other out of the first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn prefetch(weight: &WeightRef, element: usize) {
    _mm_prefetch::<_MM_HINT_T1>(weight.codes.wrapping_add(element / 2).cast());
    if let Scales::Plain { absmax } = weight.scales {
        _mm_prefetch::<_MM_HINT_T1>(absmax.wrapping_add(element >> weight.block_size.shift()).cast());
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

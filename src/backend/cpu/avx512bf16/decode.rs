//! Packed codes to tiles of `bf16` weights.
//!
//! The 16 possible weights of a block are computed first, rounded, and then looked up: `vpermw`
//! decodes 32 nibbles at a time and ignores all but the lowest 5 bits of an index. 32 bytes of codes
//! fill both halves of a vector; shifting one half by 0 (then 8) bits and the other by 4 (12) yields
//! the 64 weights in two vectors.

use std::arch::asm;
use std::arch::x86_64::*;

use super::rows::{even_rows, natural_rows, rows};
use super::split::terms;
use crate::backend::cpu::gemm::kernels::*;
use crate::backend::{Scales, WeightRef};

/// Elements of two tiles, decoded together.
pub(super) const GROUP: usize = 64;
/// Elements of a strip.
pub(super) const DEPTH: usize = TILE_STEPS * TILE_DEPTH;

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
        match (panel.order, job.weight.scales) {
            (TileOrder::By64, Scales::Plain { absmax }) if whole_blocks => even_rows::<TERMS>(panel, absmax),
            (TileOrder::By64, _) => rows::<TERMS, true>(panel),
            (TileOrder::By32, _) => rows::<TERMS, false>(panel),
            (TileOrder::Natural, _) => natural_rows::<TERMS>(panel),
        }
    }
}

/// Where tile row `row` of a term begins, in the tiles of step 0.
pub(super) fn tile_row(panel: &PanelDecode<'_>, tile: usize, term: usize, row: usize) -> *mut u8 {
    panel.out.wrapping_add((tile * panel.terms + term) * STRIP_BYTES + row * 64)
}

/// What decoding needs throughout.
pub(super) struct Decoder<'a> {
    weight: &'a WeightRef,
    pub(super) codebook: __m512,
    /// By how much the words are shifted for the first and the second tile.
    shifts: [__m512i; 2],
}

impl<'a> Decoder<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    pub(super) fn new(weight: &'a WeightRef) -> Self {
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
    pub(super) unsafe fn decode<const TERMS: usize, const BY64: bool>(
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
    pub(super) fn indices(&self, codes: __m512i) -> [__m512i; 2] {
        [_mm512_srlv_epi16(codes, self.shifts[0]), _mm512_srlv_epi16(codes, self.shifts[1])]
    }
}

/// 32 bytes in both halves of a vector.
///
/// # Safety
/// The bytes exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn twice(source: *const u8) -> __m512i {
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
pub(super) fn prefetch(weight: &WeightRef, element: usize) {
    _mm_prefetch::<_MM_HINT_T1>(weight.codes.wrapping_add(element / 2).cast());
    if let Scales::Plain { absmax } = weight.scales {
        _mm_prefetch::<_MM_HINT_T1>(absmax.wrapping_add(element >> weight.block_size.shift()).cast());
    }
}

//! `f32` to one, two or three `bf16`.

use std::arch::x86_64::*;

/// The words of two vectors rounded to `bf16`, those of `low` first. Denormals become zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn round(low: __m512, high: __m512) -> __m512i {
    let words = _mm512_cvtne2ps_pbh(high, low);
    // SAFETY: both are 64 bytes of plain numbers.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(words) }
}

/// What rounding left of the first 16 values: `words` are those of [`round`]. Zero where it is no
/// number, so that infinities and NaN stay what they are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn rest(values: __m512, words: __m256i) -> __m512 {
    let rounded = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(words));
    let rest = _mm512_sub_ps(values, _mm512_castsi512_ps(rounded));
    let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(rest), _mm512_set1_ps(f32::INFINITY));
    _mm512_maskz_mov_ps(finite, rest)
}

/// The words of terms whose sum is (nearly) `low` and `high`: the values rounded, what that left,
/// rounded, and so on. Three terms are exact.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn terms<const TERMS: usize>(mut low: __m512, mut high: __m512) -> [__m512i; TERMS] {
    let mut words = [round(low, high); TERMS];
    for i in 1..TERMS {
        low = rest(low, _mm512_castsi512_si256(words[i - 1]));
        high = rest(high, _mm512_extracti64x4_epi64::<1>(words[i - 1]));
        words[i] = round(low, high);
    }
    words
}

/// [`terms`] of the same 16 values twice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
pub(super) fn terms_twice<const TERMS: usize>(values: __m512) -> [__m512i; TERMS] {
    let mut words = [round(values, values); TERMS];
    if TERMS == 2 {
        let rest = rest(values, _mm512_castsi512_si256(words[0]));
        words[1] = round(rest, rest);
    }
    words
}

//! Which of sixteen intervals a scaled value lies in, with AVX-512.

use std::arch::x86_64::*;

/// A way to find the interval that a scaled value lies in.
pub(super) trait Search {
    /// How many bounds are below `scaled`, which is in [-1.01, 1.01].
    ///
    /// # Safety
    /// AVX-512 F, BW.
    unsafe fn interval(&self, scaled: __m512) -> __m512i;
}

/// Cuts [-1, 1] into equal bins, so narrow that none holds two bounds: one look-up gives the
/// number of bounds below the bin, another the bound to compare with. NF4 allows it; the bounds of
/// FP4 are too close around zero.
pub(super) struct Bins {
    bounds: [__m512; 2],
    below: __m512i,
    one: __m512i,
}

impl Bins {
    /// Bins per unit. The bin of `s` is `s * 15 + 16`, rounded.
    const DENSITY: f32 = 15.0;
    /// Adding it rounds to an integer, which then stands in the low bits; and shifts by 16.
    const ROUND: f32 = 12_582_912.0 + 16.0;

    #[target_feature(enable = "avx512f")]
    pub(super) fn new(bounds: &[f32; 16]) -> Option<Self> {
        let (mut bound_of, mut below) = ([f32::INFINITY; 32], [0u16; 32]);
        let mut last = None;
        for bound in &bounds[..15] {
            // Exactly what `interval` computes: the product is exact in `f64`.
            let bin = (f64::from(*bound) * f64::from(Self::DENSITY) + 16.0).round_ties_even() as usize;
            if last == Some(bin) {
                return None;
            }
            last = Some(bin);
            bound_of[bin] = *bound;
            below[bin + 1..].iter_mut().for_each(|count| *count += 1);
        }
        // SAFETY: two times sixteen floats, and 32 words.
        unsafe {
            let half = |i: usize| _mm512_loadu_ps(bound_of.as_ptr().add(16 * i));
            Some(Bins {
                bounds: [half(0), half(1)],
                below: _mm512_loadu_si512(below.as_ptr().cast()),
                one: opaque_one(),
            })
        }
    }
}

impl Search for Bins {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn interval(&self, scaled: __m512) -> __m512i {
        let (density, round) = (_mm512_set1_ps(Self::DENSITY), _mm512_set1_ps(Self::ROUND));
        let bin = _mm512_castps_si512(_mm512_fmadd_ps(scaled, density, round));
        let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(
            scaled,
            _mm512_permutex2var_ps(self.bounds[0], bin, self.bounds[1]),
        );
        // The upper words, the same for all bins, have index 0, where the table holds 0.
        let below = _mm512_permutexvar_epi16(bin, self.below);
        _mm512_mask_add_epi32(below, above, below, self.one)
    }
}

/// A binary search in four steps, for any bounds.
pub(super) struct Bisection {
    b7: __m512,
    b3: __m512,
    b11: __m512,
    /// Entry `i` is bound `i + 1`.
    next: __m512,
    all: __m512,
    one: __m512i,
}

impl Bisection {
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(bounds: &[f32; 16]) -> Self {
        // SAFETY: sixteen floats.
        let all = unsafe { _mm512_loadu_ps(bounds.as_ptr()) };
        let next = _mm512_castps_si512(all);
        Bisection {
            b7: _mm512_set1_ps(bounds[7]),
            b3: _mm512_set1_ps(bounds[3]),
            b11: _mm512_set1_ps(bounds[11]),
            next: _mm512_castsi512_ps(_mm512_alignr_epi32::<1>(next, next)),
            all,
            one: opaque_one(),
        }
    }
}

impl Search for Bisection {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn interval(&self, scaled: __m512) -> __m512i {
        let above = |bound| _mm512_cmp_ps_mask::<_CMP_GT_OQ>(scaled, bound);
        let bit = |k, i, value| _mm512_mask_or_epi32(i, k, i, value);
        let k = above(self.b7);
        let i = _mm512_maskz_mov_epi32(k, _mm512_set1_epi32(8));
        let i = bit(above(_mm512_mask_blend_ps(k, self.b3, self.b11)), i, _mm512_set1_epi32(4));
        let i = bit(above(_mm512_permutexvar_ps(i, self.next)), i, _mm512_set1_epi32(2));
        bit(above(_mm512_permutexvar_ps(i, self.all)), i, self.one)
    }
}

/// Ones that the compiler does not recognise: it would turn "add one where the mask is set" into
/// two instructions.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn opaque_one() -> __m512i {
    std::hint::black_box(_mm512_set1_epi32(1))
}

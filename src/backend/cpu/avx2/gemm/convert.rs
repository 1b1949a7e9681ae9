//! Input, bias and output rows of any float type, and runs of scales.

use std::arch::x86_64::*;

use crate::backend::Scales;
use crate::backend::cpu::gemm::row::OutputRow;
use crate::dtype::FloatType;

const LANES: usize = 8;

/// Widens `count` elements to `f32`, exactly.
///
/// # Safety
/// The pointers cover `count` elements; AVX2, F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen(source: *const u8, from: FloatType, count: usize, out: *mut f32) {
    for i in (0..count).step_by(LANES) {
        // SAFETY: the caller's contract.
        unsafe {
            let values = load(source.add(i * from.size()), from, count - i);
            store(values, out.add(i).cast(), FloatType::F32, count - i);
        }
    }
}

/// Finishes a run of sums; see [`OutputRow`].
///
/// # Safety
/// The row's pointers and `sums` cover `count` elements; AVX2, F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn finish(row: &OutputRow, sums: *const f32, count: usize) {
    for i in (0..count).step_by(LANES) {
        let left = count - i;
        // SAFETY: the caller's contract.
        unsafe {
            let mut values = load(sums.add(i).cast(), FloatType::F32, left);
            if !row.bias.is_null() {
                let bias = load(row.bias.add(i * row.bias_type.size()), row.bias_type, left);
                values = _mm256_add_ps(values, bias);
            }
            let target = row.output.add(i * row.output_type.size());
            if row.accumulate {
                values = _mm256_add_ps(values, load(target, row.output_type, left));
            }
            store(values, target, row.output_type, left);
        }
    }
}

/// The scales of `count` blocks from block `first`.
///
/// # Safety
/// The pointers cover the blocks, `out` has room for them.
pub(super) unsafe fn scales(scales: &Scales, first: usize, count: usize, out: *mut f32) {
    for i in 0..count {
        // SAFETY: the caller's contract.
        unsafe { *out.add(i) = scales.get(first + i) };
    }
}

/// Up to eight elements; zeros beyond `count`.
///
/// # Safety
/// The elements exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load(mut source: *const u8, from: FloatType, count: usize) -> __m256 {
    let mut buffer = [0u8; LANES * 4];
    if count < LANES {
        // SAFETY: fewer than eight elements, which exist.
        unsafe { source.copy_to_nonoverlapping(buffer.as_mut_ptr(), count * from.size()) };
        source = buffer.as_ptr();
    }
    // SAFETY: eight elements, there or in the buffer.
    unsafe {
        match from {
            FloatType::F32 => _mm256_loadu_ps(source.cast()),
            FloatType::F16 => _mm256_cvtph_ps(_mm_loadu_si128(source.cast())),
            FloatType::Bf16 => {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(source.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            }
        }
    }
}

/// Rounds up to eight elements to nearest even and stores them.
///
/// # Safety
/// There is room for `count` elements, or eight if it is more.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn store(values: __m256, target: *mut u8, to: FloatType, count: usize) {
    let mut buffer = [0u8; LANES * 4];
    let place = if count < LANES { buffer.as_mut_ptr() } else { target };
    // SAFETY: eight elements, there or in the buffer.
    unsafe {
        match to {
            FloatType::F32 => _mm256_storeu_ps(place.cast(), values),
            FloatType::F16 => {
                let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values);
                _mm_storeu_si128(place.cast(), halves);
            }
            FloatType::Bf16 => _mm_storeu_si128(place.cast(), round_to_bf16(values)),
        }
        if count < LANES {
            target.copy_from_nonoverlapping(buffer.as_ptr(), count * to.size());
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn round_to_bf16(values: __m256) -> __m128i {
    let bits = _mm256_castps_si256(values);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let carry = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, carry));
    let quiet = _mm256_or_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(0x40));
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(values, values));
    let words = _mm256_blendv_epi8(rounded, quiet, nan);
    _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words))
}

//! Dequantize with AVX2. A block's sixteen values are scaled and rounded once; 16-bit elements are
//! then looked up bytewise with `vpshufb`, 32-bit ones with `vpermps` in two halves of the table.

use std::arch::x86_64::*;

use crate::backend::DequantizeJob;
use crate::backend::cpu::dequantize::drive;
use crate::dtype::FloatType;

/// Decodes `blocks` blocks from `first_block`.
///
/// # Safety
/// The job's pointers are as its fields say, the blocks lie inside the job; AVX2, F16C.
pub(crate) unsafe fn dequantize(job: &DequantizeJob, first_block: u64, blocks: u64) {
    // SAFETY: passed on.
    unsafe { drive(job, first_block, blocks, decode) }
}

/// See [`DecodeRun`](crate::backend::cpu::dequantize::DecodeRun).
#[target_feature(enable = "avx2,f16c")]
unsafe fn decode(
    codes: *const u8,
    codebook: &[f32; 16],
    scales: &[f32],
    shift: u32,
    output: *mut u8,
    output_type: FloatType,
) {
    // SAFETY: sixteen floats.
    let (low, high) =
        unsafe { (_mm256_loadu_ps(codebook.as_ptr()), _mm256_loadu_ps(codebook.as_ptr().add(8))) };
    let block_codes = 1 << (shift - 1);
    let block_bytes = output_type.size() << shift;
    for (block, scale) in scales.iter().enumerate() {
        let scale = _mm256_set1_ps(*scale);
        let (low, high) = (_mm256_mul_ps(low, scale), _mm256_mul_ps(high, scale));
        // SAFETY: the block lies inside the run.
        unsafe {
            let (codes, output) = (codes.add(block * block_codes), output.add(block * block_bytes));
            match output_type {
                FloatType::F32 => decode_32(codes, low, high, block_codes, output),
                FloatType::F16 => {
                    let (low, high) = (_mm256_cvtps_ph::<0>(low), _mm256_cvtps_ph::<0>(high));
                    decode_16(codes, _mm256_set_m128i(high, low), block_codes, output);
                }
                FloatType::Bf16 => {
                    let words = _mm256_packus_epi32(round_to_bf16(low), round_to_bf16(high));
                    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
                    decode_16(codes, words, block_codes, output);
                }
            }
        }
    }
}

/// Eight products rounded to nearest even, in the low halves.
#[inline]
#[target_feature(enable = "avx2")]
fn round_to_bf16(products: __m256) -> __m256i {
    let bits = _mm256_castps_si256(products);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let carry = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    // A product that is NaN is quiet, so cutting it off leaves a NaN, while a carry might not.
    let ordered = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_ORD_Q>(products, products));
    _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, _mm256_and_si256(carry, ordered)))
}

/// Decodes `bytes` bytes, a multiple of 16, through sixteen 16-bit values.
///
/// # Safety
/// `codes` holds them and `output` has room for two elements per byte. AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn decode_16(codes: *const u8, values: __m256i, bytes: usize, output: *mut u8) {
    // The low bytes of all sixteen values in both lanes, and the high bytes.
    let low_then_high =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    let planes = _mm256_shuffle_epi8(values, low_then_high);
    let low = _mm256_permute4x64_epi64::<0b10_00_10_00>(planes);
    let high = _mm256_permute4x64_epi64::<0b11_01_11_01>(planes);
    // Each byte twice, in the order that interleaving inside lanes puts right.
    let spread = _mm256_setr_epi8(
        0, 0, 1, 1, 2, 2, 3, 3, 8, 8, 9, 9, 10, 10, 11, 11, //
        4, 4, 5, 5, 6, 6, 7, 7, 12, 12, 13, 13, 14, 14, 15, 15,
    );
    let (even, odd) = (_mm256_set1_epi16(0x000f), _mm256_set1_epi16(0x0f00));
    for at in (0..bytes).step_by(16) {
        // SAFETY: the caller's contract.
        unsafe {
            let sixteen = _mm256_broadcastsi128_si256(_mm_loadu_si128(codes.add(at).cast()));
            let twice = _mm256_shuffle_epi8(sixteen, spread);
            let nibbles = _mm256_or_si256(
                _mm256_and_si256(_mm256_srli_epi16::<4>(twice), even),
                _mm256_and_si256(twice, odd),
            );
            let (l, h) = (_mm256_shuffle_epi8(low, nibbles), _mm256_shuffle_epi8(high, nibbles));
            let output = output.add(at * 4).cast::<__m256i>();
            _mm256_storeu_si256(output, _mm256_unpacklo_epi8(l, h));
            _mm256_storeu_si256(output.add(1), _mm256_unpackhi_epi8(l, h));
        }
    }
}

/// Decodes `bytes` bytes, a multiple of 4, through sixteen `f32` values.
///
/// # Safety
/// As [`decode_16`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn decode_32(codes: *const u8, low: __m256, high: __m256, bytes: usize, output: *mut u8) {
    let shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    for at in (0..bytes).step_by(4) {
        // SAFETY: the caller's contract.
        unsafe {
            let four = _mm256_set1_epi32(codes.add(at).cast::<i32>().read_unaligned());
            // The low three bits of each lane choose in both halves, the fourth between them.
            let nibbles = _mm256_srlv_epi32(four, shifts);
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(nibbles));
            let decoded = _mm256_blendv_ps(
                _mm256_permutevar8x32_ps(low, nibbles),
                _mm256_permutevar8x32_ps(high, nibbles),
                upper,
            );
            _mm256_storeu_ps(output.add(at * 8).cast(), decoded);
        }
    }
}

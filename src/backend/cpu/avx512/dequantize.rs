//! Dequantize with AVX-512. A block's sixteen values are scaled and rounded once; every element is
//! then one table look-up. `vpermps` and `vpermw` ignore the upper bits of an index, so a nibble
//! needs a shift but no mask.

use std::arch::asm;
use std::arch::x86_64::*;

use super::search::opaque_one;
use crate::backend::DequantizeJob;
use crate::backend::cpu::dequantize::drive;
use crate::dtype::FloatType;

/// Decodes `blocks` blocks from `first_block`.
///
/// # Safety
/// The job's pointers are as its fields say, the blocks lie inside the job; AVX-512 F, BW, VL, DQ.
pub(crate) unsafe fn dequantize(job: &DequantizeJob, first_block: u64, blocks: u64) {
    // SAFETY: passed on.
    unsafe { drive(job, first_block, blocks, decode) }
}

/// See [`DecodeRun`](crate::backend::cpu::dequantize::DecodeRun).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode(
    codes: *const u8,
    codebook: &[f32; 16],
    scales: &[f32],
    shift: u32,
    output: *mut u8,
    output_type: FloatType,
) {
    // SAFETY: sixteen floats.
    let codebook = unsafe { _mm512_loadu_ps(codebook.as_ptr()) };
    let (one, any_nan) = (opaque_one(), scales.iter().fold(false, |any, s| any | s.is_nan()));
    let block_codes = 1 << (shift - 1);
    let block_bytes = output_type.size() << shift;
    for (block, scale) in scales.iter().enumerate() {
        let values = _mm512_mul_ps(codebook, _mm512_set1_ps(*scale));
        // SAFETY: the block lies inside the run.
        unsafe {
            let (codes, output) = (codes.add(block * block_codes), output.add(block * block_bytes));
            match output_type {
                FloatType::F32 => decode_32(codes, values, block_codes, output),
                FloatType::F16 => {
                    let table = _mm512_broadcast_i64x4(_mm512_cvtps_ph::<0>(values));
                    decode_16(codes, table, block_codes, output);
                }
                FloatType::Bf16 if any_nan => {
                    decode_16(codes, bf16_table::<true>(values, one), block_codes, output);
                }
                FloatType::Bf16 => {
                    decode_16(codes, bf16_table::<false>(values, one), block_codes, output);
                }
            }
        }
    }
}

/// Sixteen products rounded to nearest even, twice over; NaN only if `NAN`. (`vcvtneps2bf16`
/// flushes denormals.)
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn bf16_table<const NAN: bool>(products: __m512, one: __m512i) -> __m512i {
    let bits = _mm512_castps_si512(products);
    let carry = _mm512_set1_epi32(0x7fff);
    let odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x1_0000));
    let rounded = if NAN {
        // A product that is NaN is quiet, so cutting it off leaves a NaN, while a carry might not.
        let ordered = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(products, products);
        let rounded = _mm512_mask_add_epi32(bits, ordered, bits, carry);
        _mm512_mask_add_epi32(rounded, odd & ordered, rounded, one)
    } else {
        let rounded = _mm512_add_epi32(bits, carry);
        _mm512_mask_add_epi32(rounded, odd, rounded, one)
    };
    let upper_words = _mm512_set_epi64(
        0x001f_001d_001b_0019,
        0x0017_0015_0013_0011,
        0x000f_000d_000b_0009,
        0x0007_0005_0003_0001,
        0x001f_001d_001b_0019,
        0x0017_0015_0013_0011,
        0x000f_000d_000b_0009,
        0x0007_0005_0003_0001,
    );
    _mm512_permutexvar_epi16(upper_words, rounded)
}

/// Decodes `bytes` bytes, a multiple of 16, through sixteen 16-bit values, given twice.
///
/// # Safety
/// `codes` holds them and `output` has room for two elements per byte. AVX-512 F, BW.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn decode_16(codes: *const u8, table: __m512i, bytes: usize, output: *mut u8) {
    // Byte j of the sixteen to words 2j (shifted to its high nibble) and 2j + 1.
    let spread = _mm512_set_epi64(
        0x0f0f_0f0f_0e0e_0e0e,
        0x0d0d_0d0d_0c0c_0c0c,
        0x0b0b_0b0b_0a0a_0a0a,
        0x0909_0909_0808_0808,
        0x0707_0707_0606_0606,
        0x0505_0505_0404_0404,
        0x0303_0303_0202_0202,
        0x0101_0101_0000_0000,
    );
    let shifts = _mm512_set1_epi32(4);
    for at in (0..bytes).step_by(16) {
        // SAFETY: the caller's contract.
        unsafe {
            let sixteen = broadcast_16(codes.add(at));
            let nibbles = _mm512_srlv_epi16(_mm512_shuffle_epi8(sixteen, spread), shifts);
            let decoded = _mm512_permutexvar_epi16(nibbles, table);
            _mm512_storeu_si512(output.add(at * 4).cast(), decoded);
        }
    }
}

/// Sixteen bytes, four times. (The intrinsics compile to a load and a shuffle, which takes the port
/// that the look-ups need.)
///
/// # Safety
/// `source` holds sixteen bytes. AVX-512 F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast_16(source: *const u8) -> __m512i {
    let bytes: __m512i;
    // SAFETY: one load of sixteen bytes.
    unsafe {
        asm!(
            "vbroadcasti32x4 {}, xmmword ptr [{}]",
            out(zmm_reg) bytes, in(reg) source, options(pure, readonly, nostack, preserves_flags)
        );
    }
    bytes
}

/// Decodes `bytes` bytes, a multiple of 16, through sixteen `f32` values.
///
/// # Safety
/// As [`decode_16`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn decode_32(codes: *const u8, values: __m512, bytes: usize, output: *mut u8) {
    let spread = _mm512_set_epi64(
        0x0707_0707_0707_0707,
        0x0606_0606_0606_0606,
        0x0505_0505_0505_0505,
        0x0404_0404_0404_0404,
        0x0303_0303_0303_0303,
        0x0202_0202_0202_0202,
        0x0101_0101_0101_0101,
        0,
    );
    let shifts = _mm512_set1_epi64(4);
    for at in (0..bytes).step_by(8) {
        // SAFETY: the caller's contract.
        unsafe {
            let eight = _mm512_set1_epi64(codes.add(at).cast::<i64>().read_unaligned());
            let nibbles = _mm512_srlv_epi32(_mm512_shuffle_epi8(eight, spread), shifts);
            _mm512_storeu_ps(output.add(at * 8).cast(), _mm512_permutexvar_ps(nibbles, values));
        }
    }
}

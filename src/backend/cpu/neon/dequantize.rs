//! Dequantize with Advanced SIMD. A block's sixteen values are scaled and rounded once; elements
//! are then looked up byte plane by byte plane with `tbl` and interleaved by the store.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::backend::DequantizeJob;
use crate::backend::cpu::dequantize::drive;
use crate::dtype::FloatType;

/// Decodes `blocks` blocks from `first_block`.
///
/// # Safety
/// The job's pointers are as its fields say, the blocks lie inside the job; Advanced SIMD.
pub(crate) unsafe fn dequantize(job: &DequantizeJob, first_block: u64, blocks: u64) {
    // SAFETY: passed on.
    unsafe { drive(job, first_block, blocks, decode) }
}

/// See [`DecodeRun`](crate::backend::cpu::dequantize::DecodeRun).
#[target_feature(enable = "neon")]
unsafe fn decode(
    codes: *const u8,
    codebook: &[f32; 16],
    scales: &[f32],
    shift: u32,
    output: *mut u8,
    output_type: FloatType,
) {
    let block_codes = 1 << (shift - 1);
    let block_bytes = output_type.size() << shift;
    for (block, scale) in scales.iter().enumerate() {
        let mut values = [vdupq_n_f32(0.0); 4];
        for (i, values) in values.iter_mut().enumerate() {
            // SAFETY: sixteen floats.
            *values = vmulq_n_f32(unsafe { vld1q_f32(codebook.as_ptr().add(4 * i)) }, *scale);
        }
        // SAFETY: the block lies inside the run.
        unsafe {
            let (codes, output) = (codes.add(block * block_codes), output.add(block * block_bytes));
            match output_type {
                FloatType::F32 => decode_32(codes, values, block_codes, output),
                FloatType::F16 => {
                    let words = [narrow_f16(values[0], values[1]), narrow_f16(values[2], values[3])];
                    decode_16(codes, words, block_codes, output);
                }
                FloatType::Bf16 => {
                    let words = [narrow_bf16(values[0], values[1]), narrow_bf16(values[2], values[3])];
                    decode_16(codes, words, block_codes, output);
                }
            }
        }
    }
}

/// Eight products rounded to nearest even.
#[inline]
#[target_feature(enable = "neon")]
fn narrow_bf16(low: float32x4_t, high: float32x4_t) -> uint8x16_t {
    let round = |products| {
        let bits = vreinterpretq_u32_f32(products);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let carry = vaddq_u32(odd, vdupq_n_u32(0x7fff));
        // A product that is NaN is quiet, so cutting it off leaves a NaN, while a carry might not.
        vaddq_u32(bits, vandq_u32(carry, vceqq_f32(products, products)))
    };
    // The upper halves.
    let words = vuzp2q_u16(vreinterpretq_u16_u32(round(low)), vreinterpretq_u16_u32(round(high)));
    vreinterpretq_u8_u16(words)
}

/// Eight values rounded to nearest even. (The intrinsic needs a type that Rust has not
/// stabilised.)
#[inline]
#[target_feature(enable = "neon")]
fn narrow_f16(low: float32x4_t, high: float32x4_t) -> uint8x16_t {
    let words: uint8x16_t;
    // SAFETY: two instructions of Advanced SIMD between registers.
    unsafe {
        asm!(
            "fcvtn {0:v}.4h, {1:v}.4s",
            "fcvtn2 {0:v}.8h, {2:v}.4s",
            out(vreg) words, in(vreg) low, in(vreg) high, options(pure, nomem, nostack)
        );
    }
    words
}

/// The nibbles of sixteen bytes in the order of elements: the first and the second sixteen.
///
/// # Safety
/// `codes` holds sixteen bytes. Advanced SIMD.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn nibbles(codes: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: the caller's contract.
    let bytes = unsafe { vld1q_u8(codes) };
    let (even, odd) = (vshrq_n_u8::<4>(bytes), vandq_u8(bytes, vdupq_n_u8(15)));
    [vzip1q_u8(even, odd), vzip2q_u8(even, odd)]
}

/// Decodes `bytes` bytes, a multiple of 16, through sixteen 16-bit values.
///
/// # Safety
/// `codes` holds them and `output` has room for two elements per byte. Advanced SIMD.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn decode_16(codes: *const u8, words: [uint8x16_t; 2], bytes: usize, output: *mut u8) {
    let (low, high) = (vuzp1q_u8(words[0], words[1]), vuzp2q_u8(words[0], words[1]));
    for at in (0..bytes).step_by(16) {
        // SAFETY: the caller's contract.
        let halves = unsafe { nibbles(codes.add(at)) };
        for (i, half) in halves.into_iter().enumerate() {
            let planes = uint8x16x2_t(vqtbl1q_u8(low, half), vqtbl1q_u8(high, half));
            // SAFETY: as above.
            unsafe { vst2q_u8(output.add(at * 4 + 32 * i), planes) };
        }
    }
}

/// Decodes `bytes` bytes, a multiple of 16, through sixteen `f32` values.
///
/// # Safety
/// As [`decode_16`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn decode_32(codes: *const u8, values: [float32x4_t; 4], bytes: usize, output: *mut u8) {
    let mut table = [vdupq_n_u8(0); 4];
    for (table, values) in table.iter_mut().zip(values) {
        *table = vreinterpretq_u8_f32(values);
    }
    let pair = |a, b| [vuzp1q_u8(a, b), vuzp2q_u8(a, b)];
    // Bytes 0 and 2 of every value, then bytes 1 and 3.
    let ([even_a, odd_a], [even_b, odd_b]) = (pair(table[0], table[1]), pair(table[2], table[3]));
    let ([byte0, byte2], [byte1, byte3]) = (pair(even_a, even_b), pair(odd_a, odd_b));
    for at in (0..bytes).step_by(16) {
        // SAFETY: the caller's contract.
        let halves = unsafe { nibbles(codes.add(at)) };
        for (i, half) in halves.into_iter().enumerate() {
            let planes = uint8x16x4_t(
                vqtbl1q_u8(byte0, half),
                vqtbl1q_u8(byte1, half),
                vqtbl1q_u8(byte2, half),
                vqtbl1q_u8(byte3, half),
            );
            // SAFETY: as above.
            unsafe { vst4q_u8(output.add(at * 8 + 64 * i), planes) };
        }
    }
}

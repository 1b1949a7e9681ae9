//! Quantize with AVX-512: the absmax as an integer maximum of magnitudes, the code by table
//! look-ups in registers.
//!
//! Even and odd elements are encoded in two vectors, so that a byte's nibbles lie in one lane.

use std::arch::x86_64::*;

use super::search::{Bins, Bisection, Search};
use crate::backend::QuantizeJob;
use crate::backend::cpu::quantize::{QuantizeArm, Run, STEP, drive};
use crate::dtype::FloatType;

const F32: u8 = FloatType::F32 as u8;
const F16: u8 = FloatType::F16 as u8;
const BF16: u8 = FloatType::Bf16 as u8;

/// Quantizes the job.
///
/// # Safety
/// The job's pointers are as its fields say; AVX-512 F, BW, VL and DQ.
pub(crate) unsafe fn quantize(job: &QuantizeJob) {
    // SAFETY: passed on.
    unsafe { drive::<Avx512>(job) }
}

struct Avx512;

/// Bins where the bounds allow them.
enum AnySearch {
    Bins(Bins),
    Bisection(Bisection),
}

impl QuantizeArm for Avx512 {
    type Search = AnySearch;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn search(bounds: &[f32; 16]) -> AnySearch {
        Bins::new(bounds).map_or_else(|| AnySearch::Bisection(Bisection::new(bounds)), AnySearch::Bins)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn absmax(source: *const u8, source_type: FloatType, block_size: usize, bits: &mut [u32]) {
        // SAFETY: passed on.
        unsafe { absmax(source, source_type, block_size, bits) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn encode(run: &Run, search: &AnySearch) {
        // SAFETY: passed on.
        unsafe {
            match search {
                AnySearch::Bins(bins) => encode(run, bins),
                AnySearch::Bisection(bisection) => encode(run, bisection),
            }
        }
    }
}

/// See [`QuantizeArm::absmax`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn absmax(source: *const u8, source_type: FloatType, block_size: usize, bits: &mut [u32]) {
    let block_bytes = block_size * source_type.size();
    for (block, bits) in bits.iter_mut().enumerate() {
        // SAFETY: the block lies inside the source.
        unsafe {
            let block = source.add(block * block_bytes);
            *bits = match source_type {
                FloatType::F32 => absmax_32(block, block_bytes),
                FloatType::Bf16 => u32::from(absmax_16(block, block_bytes)) << 16,
                FloatType::F16 => {
                    let widest = _mm_cvtsi32_si128(absmax_16(block, block_bytes).into());
                    _mm_cvtss_f32(_mm_cvtph_ps(widest)).to_bits()
                }
            };
        }
    }
}

/// # Safety
/// `block` holds `bytes` bytes, a multiple of 64. AVX-512 F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn absmax_32(block: *const u8, bytes: usize) -> u32 {
    let magnitude = _mm512_set1_epi32(0x7fff_ffff);
    let mut largest = _mm512_setzero_si512();
    for at in (0..bytes).step_by(64) {
        // SAFETY: inside the block.
        let x = unsafe { _mm512_loadu_si512(block.add(at).cast()) };
        largest = _mm512_max_epu32(largest, _mm512_and_si512(x, magnitude));
    }
    _mm512_reduce_max_epu32(largest)
}

/// # Safety
/// As [`absmax_32`]. AVX-512 F, BW.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn absmax_16(block: *const u8, bytes: usize) -> u16 {
    let magnitude = _mm512_set1_epi16(0x7fff);
    let mut largest = _mm512_setzero_si512();
    for at in (0..bytes).step_by(64) {
        // SAFETY: inside the block.
        let x = unsafe { _mm512_loadu_si512(block.add(at).cast()) };
        largest = _mm512_max_epu16(largest, _mm512_and_si512(x, magnitude));
    }
    let half = _mm256_max_epu16(_mm512_castsi512_si256(largest), _mm512_extracti64x4_epi64::<1>(largest));
    let quarter = _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    // The one horizontal instruction there is finds a minimum.
    let smallest = _mm_minpos_epu16(_mm_xor_si128(quarter, _mm_set1_epi16(-1)));
    !(_mm_cvtsi128_si32(smallest) as u16)
}

/// See [`QuantizeArm::encode`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn encode<S: Search>(run: &Run, search: &S) {
    // SAFETY: passed on.
    unsafe {
        match (run.source_type, run.flush) {
            (FloatType::F32, false) => encode_typed::<S, F32, false>(run, search),
            (FloatType::F32, true) => encode_typed::<S, F32, true>(run, search),
            // Denormals of binary16 are normal numbers in binary32.
            (FloatType::F16, _) => encode_typed::<S, F16, false>(run, search),
            (FloatType::Bf16, false) => encode_typed::<S, BF16, false>(run, search),
            (FloatType::Bf16, true) => encode_typed::<S, BF16, true>(run, search),
        }
    }
}

/// # Safety
/// As [`encode`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn encode_typed<S: Search, const TYPE: u8, const FLUSH: bool>(run: &Run, search: &S) {
    // SAFETY: sixteen bytes.
    let codes = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(run.codes.as_ptr().cast()) });
    let vector_bytes = 32 * run.source_type.size();
    let run_bytes = run.numel * run.source_type.size();
    for step in 0..run.numel / STEP {
        // The search for the next run's absmax would otherwise wait for memory, with nothing to do.
        let next = run.source.wrapping_add(run_bytes + 4 * step * vector_bytes);
        for line in (0..4 * vector_bytes).step_by(64) {
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line).cast());
        }
        // A loop, since a closure handed to `array::from_fn` would not be inlined here.
        let mut bytes = [_mm512_setzero_si512(); 4];
        for (i, bytes) in bytes.iter_mut().enumerate() {
            let vector = 4 * step + i;
            let multiplier = _mm512_set1_ps(run.multipliers[vector >> (run.shift - 5)]);
            // SAFETY: the vector lies inside the run; the features are this function's.
            unsafe {
                let (even, odd) = even_odd::<TYPE>(run.source.add(vector * vector_bytes));
                let high = search.interval(scale::<FLUSH>(even, multiplier));
                let low = search.interval(scale::<FLUSH>(odd, multiplier));
                *bytes = _mm512_or_si512(_mm512_slli_epi32::<4>(high), low);
            }
        }
        let mut packed = pack(bytes);
        if !run.ascending {
            packed = map_nibbles(packed, codes);
        }
        // SAFETY: inside the output.
        unsafe { _mm512_storeu_si512(run.output.add(step * STEP / 2).cast(), packed) };
    }
}

/// `x * multiplier`; with `FLUSH`, denormal `x` is zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn scale<const FLUSH: bool>(x: __m512, multiplier: __m512) -> __m512 {
    if FLUSH {
        let normal = _mm512_test_epi32_mask(_mm512_castps_si512(x), _mm512_set1_epi32(0x7f80_0000));
        _mm512_maskz_mul_ps(normal, x, multiplier)
    } else {
        _mm512_mul_ps(x, multiplier)
    }
}

/// The even and the odd ones of 32 elements, as `f32`.
///
/// # Safety
/// `source` holds 32 elements. AVX-512 F, BW.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn even_odd<const TYPE: u8>(source: *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's contract.
    unsafe {
        if TYPE == BF16 {
            let pairs = _mm512_loadu_si512(source.cast());
            let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            return (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(odd));
        }
        let (a, b) = if TYPE == F32 {
            (_mm512_loadu_ps(source.cast()), _mm512_loadu_ps(source.add(64).cast()))
        } else {
            let half = |at| _mm512_cvtph_ps(_mm256_loadu_si256(source.add(at).cast()));
            (half(0), half(32))
        };
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
        (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
    }
}

/// The low bytes of 64 lanes, in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pack(lanes: [__m512i; 4]) -> __m512i {
    let words = [_mm512_packus_epi32(lanes[0], lanes[1]), _mm512_packus_epi32(lanes[2], lanes[3])];
    let bytes = _mm512_packus_epi16(words[0], words[1]);
    // Packing worked inside each 128-bit lane: dword 4a + b belongs at 4b + a.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, bytes)
}

/// Replaces both nibbles of every byte by their entries in `table`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn map_nibbles(bytes: __m512i, table: __m512i) -> __m512i {
    let nibble = _mm512_set1_epi8(15);
    let low = _mm512_shuffle_epi8(table, _mm512_and_si512(bytes, nibble));
    let high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble));
    _mm512_or_si512(_mm512_slli_epi16::<4>(high), low)
}

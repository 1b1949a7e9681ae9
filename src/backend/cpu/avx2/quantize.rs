//! Quantize with AVX2: the absmax as an integer maximum of magnitudes, the code by a binary search
//! whose bounds come from `vpermps`.
//!
//! A comparison yields 0 or -1, so the search keeps its position as a negative number; `vpermps`
//! reads the low three bits of an index, and the tables stand in the order of those.

use std::arch::x86_64::*;

use crate::backend::QuantizeJob;
use crate::backend::cpu::quantize::{QuantizeArm, Run, drive};
use crate::dtype::FloatType;

const F32: u8 = FloatType::F32 as u8;
const F16: u8 = FloatType::F16 as u8;
const BF16: u8 = FloatType::Bf16 as u8;

/// Elements encoded at a time; a divisor of the runs' step.
const STEP: usize = 64;

/// Quantizes the job.
///
/// # Safety
/// The job's pointers are as its fields say; AVX2, F16C.
pub(crate) unsafe fn quantize(job: &QuantizeJob) {
    // SAFETY: passed on.
    unsafe { drive::<Avx2>(job) }
}

struct Avx2;

impl QuantizeArm for Avx2 {
    type Search = Search;

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn search(bounds: &[f32; 16]) -> Search {
        Search::new(bounds)
    }

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn absmax(source: *const u8, source_type: FloatType, block_size: usize, bits: &mut [u32]) {
        // SAFETY: passed on.
        unsafe { absmax(source, source_type, block_size, bits) }
    }

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn encode(run: &Run, search: &Search) {
        // SAFETY: passed on.
        unsafe {
            match (run.source_type, run.flush) {
                (FloatType::F32, false) => encode::<F32, false>(run, search),
                (FloatType::F32, true) => encode::<F32, true>(run, search),
                // Denormals of binary16 are normal numbers in binary32.
                (FloatType::F16, _) => encode::<F16, false>(run, search),
                (FloatType::Bf16, false) => encode::<BF16, false>(run, search),
                (FloatType::Bf16, true) => encode::<BF16, true>(run, search),
            }
        }
    }
}

/// See [`QuantizeArm::absmax`].
#[inline]
#[target_feature(enable = "avx2,f16c")]
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
/// `block` holds `bytes` bytes, a multiple of 64. AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn absmax_32(block: *const u8, bytes: usize) -> u32 {
    let magnitude = _mm256_set1_epi32(0x7fff_ffff);
    let mut largest = [_mm256_setzero_si256(); 2];
    for at in (0..bytes).step_by(64) {
        for (i, largest) in largest.iter_mut().enumerate() {
            // SAFETY: inside the block.
            let x = unsafe { _mm256_loadu_si256(block.add(at + 32 * i).cast()) };
            *largest = _mm256_max_epu32(*largest, _mm256_and_si256(x, magnitude));
        }
    }
    let all = _mm256_max_epu32(largest[0], largest[1]);
    let four = _mm_max_epu32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
    let two = _mm_max_epu32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
    let one = _mm_max_epu32(two, _mm_shuffle_epi32::<0b00_00_00_01>(two));
    _mm_cvtsi128_si32(one) as u32
}

/// # Safety
/// As [`absmax_32`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn absmax_16(block: *const u8, bytes: usize) -> u16 {
    let magnitude = _mm256_set1_epi16(0x7fff);
    let mut largest = [_mm256_setzero_si256(); 2];
    for at in (0..bytes).step_by(64) {
        for (i, largest) in largest.iter_mut().enumerate() {
            // SAFETY: inside the block.
            let x = unsafe { _mm256_loadu_si256(block.add(at + 32 * i).cast()) };
            *largest = _mm256_max_epu16(*largest, _mm256_and_si256(x, magnitude));
        }
    }
    let all = _mm256_max_epu16(largest[0], largest[1]);
    let eight = _mm_max_epu16(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
    // The one horizontal instruction there is finds a minimum.
    let smallest = _mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi16(-1)));
    !(_mm_cvtsi128_si32(smallest) as u16)
}

/// See [`QuantizeArm::encode`].
#[target_feature(enable = "avx2,f16c")]
unsafe fn encode<const TYPE: u8, const FLUSH: bool>(run: &Run, search: &Search) {
    // SAFETY: sixteen bytes.
    let codes = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(run.codes.as_ptr().cast()) });
    let vector_bytes = 16 * run.source_type.size();
    let run_bytes = run.numel * run.source_type.size();
    for step in 0..run.numel / STEP {
        // The search for the next run's absmax would otherwise wait for memory, with nothing to do.
        let next = run.source.wrapping_add(run_bytes + 4 * step * vector_bytes);
        for line in (0..4 * vector_bytes).step_by(64) {
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line).cast());
        }
        let mut bytes = [_mm256_setzero_si256(); 4];
        for (i, bytes) in bytes.iter_mut().enumerate() {
            let vector = 4 * step + i;
            let multiplier = _mm256_set1_ps(run.multipliers[vector >> (run.shift - 4)]);
            // SAFETY: the vector lies inside the run.
            let (even, odd) = unsafe { even_odd::<TYPE>(run.source.add(vector * vector_bytes)) };
            let high = search.minus_interval::<FLUSH>(even, multiplier);
            let low = search.minus_interval::<FLUSH>(odd, multiplier);
            let minus_byte = _mm256_add_epi32(_mm256_slli_epi32::<4>(high), low);
            *bytes = _mm256_sub_epi32(_mm256_setzero_si256(), minus_byte);
            if TYPE != BF16 {
                *bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(*bytes);
            }
        }
        let mut packed = pack(bytes);
        if !run.ascending {
            packed = map_nibbles(packed, codes);
        }
        // SAFETY: inside the output.
        unsafe { _mm256_storeu_si256(run.output.add(step * STEP / 2).cast(), packed) };
    }
}

/// The even and the odd ones of 16 elements, as `f32`; the middle quarters are exchanged unless
/// the type is bf16.
///
/// # Safety
/// `source` holds 16 elements. AVX2, F16C.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn even_odd<const TYPE: u8>(source: *const u8) -> (__m256, __m256) {
    // SAFETY: the caller's contract.
    unsafe {
        if TYPE == BF16 {
            let pairs = _mm256_loadu_si256(source.cast());
            let odd = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            return (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(odd));
        }
        let (a, b) = if TYPE == F32 {
            (_mm256_loadu_ps(source.cast()), _mm256_loadu_ps(source.add(32).cast()))
        } else {
            let half = |at| _mm256_cvtph_ps(_mm_loadu_si128(source.add(at).cast()));
            (half(0), half(16))
        };
        (_mm256_shuffle_ps::<0b10_00_10_00>(a, b), _mm256_shuffle_ps::<0b11_01_11_01>(a, b))
    }
}

/// The bounds as the four steps of a binary search read them.
struct Search {
    middle: __m256,
    /// Entry `-i & 7` of step `n` is the bound that separates the halves of part `i` of `2^n`.
    steps: [__m256; 3],
}

impl Search {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(bounds: &[f32; 16]) -> Self {
        let b = bounds;
        Search {
            middle: _mm256_set1_ps(b[7]),
            steps: [
                _mm256_setr_ps(b[3], 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, b[11]),
                _mm256_setr_ps(b[1], 0.0, 0.0, 0.0, 0.0, b[13], b[9], b[5]),
                _mm256_setr_ps(b[0], b[14], b[12], b[10], b[8], b[6], b[4], b[2]),
            ],
        }
    }

    /// Minus the number of bounds below `x * multiplier`; with `FLUSH`, denormal `x` is zero.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn minus_interval<const FLUSH: bool>(&self, x: __m256, multiplier: __m256) -> __m256i {
        let mut scaled = _mm256_mul_ps(x, multiplier);
        if FLUSH {
            let exponent = _mm256_castsi256_ps(_mm256_set1_epi32(0x7f80_0000));
            let zero = _mm256_setzero_ps();
            let exponent_zero = _mm256_cmp_ps::<_CMP_EQ_OQ>(_mm256_and_ps(x, exponent), zero);
            scaled = _mm256_andnot_ps(exponent_zero, scaled);
        }
        let above = |bound| _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(scaled, bound));
        let mut i = above(self.middle);
        for step in self.steps {
            let bit = above(_mm256_permutevar8x32_ps(step, i));
            i = _mm256_add_epi32(_mm256_add_epi32(i, i), bit);
        }
        i
    }
}

/// The low bytes of 32 lanes, in order.
#[inline]
#[target_feature(enable = "avx2")]
fn pack(lanes: [__m256i; 4]) -> __m256i {
    let words = [_mm256_packus_epi32(lanes[0], lanes[1]), _mm256_packus_epi32(lanes[2], lanes[3])];
    let bytes = _mm256_packus_epi16(words[0], words[1]);
    // Packing worked inside each 128-bit lane.
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// Replaces both nibbles of every byte by their entries in `table`.
#[inline]
#[target_feature(enable = "avx2")]
fn map_nibbles(bytes: __m256i, table: __m256i) -> __m256i {
    let nibble = _mm256_set1_epi8(15);
    let low = _mm256_shuffle_epi8(table, _mm256_and_si256(bytes, nibble));
    let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble));
    _mm256_or_si256(_mm256_slli_epi16::<4>(high), low)
}

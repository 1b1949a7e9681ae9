//! Input, bias and output rows of any float type, and runs of scales.

use std::arch::x86_64::*;

use crate::backend::Scales;
use crate::backend::cpu::gemm::row::OutputRow;
use crate::dtype::FloatType;

const LANES: usize = 16;

/// Widens `count` elements to `f32`, exactly.
///
/// # Safety
/// The pointers cover `count` elements; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn widen(source: *const u8, from: FloatType, count: usize, out: *mut f32) {
    for i in (0..count).step_by(LANES) {
        let lanes = mask(count - i);
        // SAFETY: masked-off elements are not touched.
        unsafe {
            let values = load(source.add(i * from.size()), from, lanes);
            _mm512_mask_storeu_ps(out.add(i), lanes, values);
        }
    }
}

/// Finishes a run of sums; see [`OutputRow`].
///
/// # Safety
/// The row's pointers and `sums` cover `count` elements; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn finish(row: &OutputRow, sums: *const f32, count: usize) {
    for i in (0..count).step_by(LANES) {
        let lanes = mask(count - i);
        // SAFETY: masked-off elements are not touched.
        unsafe {
            let mut values = _mm512_maskz_loadu_ps(lanes, sums.add(i));
            if !row.bias.is_null() {
                let bias = load(row.bias.add(i * row.bias_type.size()), row.bias_type, lanes);
                values = _mm512_add_ps(values, bias);
            }
            let target = row.output.add(i * row.output_type.size());
            if row.accumulate {
                values = _mm512_add_ps(values, load(target, row.output_type, lanes));
            }
            store(values, target, row.output_type, lanes);
        }
    }
}

/// The scales of `count` blocks from block `first`.
///
/// # Safety
/// The pointers cover the blocks, `out` has room for them; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn scales(scales: &Scales, first: usize, count: usize, out: *mut f32) {
    for i in (0..count).step_by(LANES) {
        let lanes = mask(count - i);
        let block = first + i;
        // SAFETY: masked-off elements are not touched.
        unsafe {
            let values = match *scales {
                Scales::Plain { absmax } => _mm512_maskz_loadu_ps(lanes, absmax.add(block)),
                Scales::Double { codes, map, nested_absmax, nested_shift, offset } => {
                    let codes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, codes.add(block).cast()));
                    let zero = _mm512_setzero_ps();
                    let mapped = _mm512_mask_i32gather_ps::<4>(zero, lanes, codes, map.cast());
                    let last = block + (count - i).min(LANES) - 1;
                    let nested = if block >> nested_shift == last >> nested_shift {
                        _mm512_set1_ps(*nested_absmax.add(block >> nested_shift))
                    } else {
                        // A lane's own nested block, counted from that of the first lane.
                        let within = (block & ((1 << nested_shift) - 1)) as i32;
                        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                        let index = _mm512_srl_epi32(
                            _mm512_add_epi32(lane, _mm512_set1_epi32(within)),
                            _mm_cvtsi32_si128(nested_shift as i32),
                        );
                        let nested = nested_absmax.add(block >> nested_shift);
                        _mm512_mask_i32gather_ps::<4>(zero, lanes, index, nested.cast())
                    };
                    // Two roundings, as dequantization in bitsandbytes has them.
                    _mm512_add_ps(_mm512_mul_ps(mapped, nested), _mm512_set1_ps(offset))
                }
            };
            _mm512_mask_storeu_ps(out.add(i), lanes, values);
        }
    }
}

/// The lowest `count` lanes, all if there are more.
#[inline]
fn mask(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// # Safety
/// The lanes' elements can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load(source: *const u8, from: FloatType, lanes: __mmask16) -> __m512 {
    // SAFETY: masked-off elements are not read.
    unsafe {
        match from {
            FloatType::F32 => _mm512_maskz_loadu_ps(lanes, source.cast()),
            FloatType::F16 => _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, source.cast())),
            FloatType::Bf16 => {
                let halves = _mm256_maskz_loadu_epi16(lanes, source.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
            }
        }
    }
}

/// Rounds to nearest even and stores.
///
/// # Safety
/// The lanes' elements can be written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn store(values: __m512, target: *mut u8, to: FloatType, lanes: __mmask16) {
    // SAFETY: masked-off elements are not written.
    unsafe {
        match to {
            FloatType::F32 => _mm512_mask_storeu_ps(target.cast(), lanes, values),
            FloatType::F16 => {
                let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values);
                _mm256_mask_storeu_epi16(target.cast(), lanes, halves);
            }
            FloatType::Bf16 => _mm256_mask_storeu_epi16(target.cast(), lanes, round_to_bf16(values)),
        }
    }
}

/// Round to nearest even by integer arithmetic: unlike `vcvtneps2bf16` it keeps denormals.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn round_to_bf16(values: __m512) -> __m256i {
    let bits = _mm512_castps_si512(values);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, bias));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
    let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
    _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet))
}

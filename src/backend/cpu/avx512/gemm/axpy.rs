//! Sums of scaled weight rows, straight from packed codes.
//!
//! 32 bytes of codes are widened to 16 double words of 4 nibbles. As in `dot.rs`, shifting them right
//! by `4 j` bits and permuting the codebook decodes nibble `j` of each: lane `l` then holds column
//! `4 l + [1, 0, 3, 2][j]`. Sums stay in registers over all rows of a run.

use std::arch::x86_64::*;

use crate::backend::cpu::gemm::kernels::{AxpyKernel, AxpyKernels, AxpyRun, FactorRun};

const LANES: usize = 16;
/// Columns per 32 bytes of codes.
const STRIPE: usize = 64;
/// Vectors of a stripe.
const VECTORS: usize = STRIPE / LANES;

pub(super) const KERNELS: AxpyKernels =
    AxpyKernels { inputs: 48, kernels: [&by_inputs::<false>(), &by_inputs::<true>()], factors, order };

/// Six input rows are 24 sums, which leaves registers for codes and codebook.
const fn by_inputs<const HALVES: bool>() -> [AxpyKernel; 6] {
    [
        axpy::<1, HALVES>,
        axpy::<2, HALVES>,
        axpy::<3, HALVES>,
        axpy::<4, HALVES>,
        axpy::<5, HALVES>,
        axpy::<6, HALVES>,
    ]
}

/// See [`AxpyKernel`].
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn axpy<const INPUTS: usize, const HALVES: bool>(run: &AxpyRun) {
    // SAFETY: the caller's contract; only the words of columns that exist are read.
    unsafe {
        let codebook = _mm512_loadu_ps(run.codebook.as_ptr());
        for stripe in 0..run.columns.div_ceil(STRIPE) {
            let words = (run.columns - stripe * STRIPE).min(STRIPE) / 4;
            let words = (!0u32 >> (32 - words)) as __mmask16;
            let mut codes = run.codes.add(stripe * STRIPE / 2);
            let first = if HALVES { 2 * stripe } else { (run.inside + stripe) >> run.shift };
            let mut factors = run.factors.add(first);
            let mut sums = [[_mm512_setzero_ps(); VECTORS]; INPUTS];
            for _ in 0..run.rows {
                let indices = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(words, codes.cast()));
                _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(run.ahead).cast());
                let weights = [
                    _mm512_permutexvar_ps(indices, codebook),
                    _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(indices), codebook),
                    _mm512_permutexvar_ps(_mm512_srli_epi32::<8>(indices), codebook),
                    _mm512_permutexvar_ps(_mm512_srli_epi32::<12>(indices), codebook),
                ];
                for (input, sums) in sums.iter_mut().enumerate() {
                    let factor = load_factor::<HALVES>(factors.add(input * run.input_factors));
                    for (sum, weights) in sums.iter_mut().zip(&weights) {
                        *sum = _mm512_fmadd_ps(*weights, factor, *sum);
                    }
                }
                codes = codes.wrapping_add(run.row_bytes);
                factors = factors.wrapping_add(run.row_factors);
            }
            for (input, sums) in sums.iter().enumerate() {
                for (vector, sum) in sums.iter().enumerate() {
                    let out = run.sums.add(input * run.sum_stride + stripe * STRIPE + vector * LANES);
                    let sum = if run.add { _mm512_add_ps(*sum, _mm512_loadu_ps(out)) } else { *sum };
                    _mm512_storeu_ps(out, sum);
                }
            }
        }
    }
}

/// The factor of a stripe, or of its halves, lane by lane.
///
/// # Safety
/// The factors exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_factor<const HALVES: bool>(factors: *const f32) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe {
        let first = _mm512_set1_ps(*factors);
        match HALVES {
            true => _mm512_mask_broadcastss_ps(first, 0xff00, _mm_load_ss(factors.add(1))),
            false => first,
        }
    }
}

/// See [`AxpyKernels::factors`].
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn factors(run: &FactorRun) {
    let mut out = run.out;
    for row in 0..run.rows {
        let scales = run.scales.wrapping_add(row * run.scale_stride);
        let next = scales.wrapping_add(run.rows * run.scale_stride);
        for start in (0..run.count).step_by(LANES) {
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(start).cast());
        }
        for input in 0..run.inputs {
            // SAFETY: masked-off elements are not touched.
            unsafe {
                let factor = run.input.offset(input as isize * run.input_stride).add(row);
                let factor = _mm512_set1_ps(factor.read_unaligned());
                for start in (0..run.count).step_by(LANES) {
                    let lanes = (!0u32 >> (32 - (run.count - start).min(LANES))) as __mmask16;
                    let scales = _mm512_maskz_loadu_ps(lanes, scales.add(start));
                    _mm512_mask_storeu_ps(out.add(start), lanes, _mm512_mul_ps(scales, factor));
                }
            }
            out = out.wrapping_add(run.count);
        }
    }
}

/// See [`AxpyKernels::order`].
///
/// # Safety
/// `sums` covers the stripes; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn order(sums: *mut f32, stripes: usize) {
    for stripe in 0..stripes {
        let sums = sums.wrapping_add(stripe * STRIPE);
        let mut vectors = [_mm512_setzero_ps(); VECTORS];
        for (i, vector) in vectors.iter_mut().enumerate() {
            // SAFETY: the caller's contract.
            *vector = unsafe { _mm512_loadu_ps(sums.add(i * LANES)) };
        }
        for quarter in 0..VECTORS {
            // Lanes `4 j` to `4 j + 3` come from lane `4 quarter + j` of vectors 1, 0, 3 and 2.
            let lanes = _mm512_setr_epi32(0, 16, 0, 16, 1, 17, 1, 17, 2, 18, 2, 18, 3, 19, 3, 19);
            let lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(4 * quarter as i32));
            let low = _mm512_permutex2var_ps(vectors[1], lanes, vectors[0]);
            let high = _mm512_permutex2var_ps(vectors[3], lanes, vectors[2]);
            // SAFETY: the caller's contract.
            unsafe { _mm512_storeu_ps(sums.add(quarter * LANES), _mm512_mask_mov_ps(low, 0xcccc, high)) };
        }
    }
}

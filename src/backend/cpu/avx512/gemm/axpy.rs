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
    AxpyKernels { inputs: 20, kernels: [&by_inputs::<false>(), &by_inputs::<true>()], factors, order };

/// Sums take up to 24 registers, which leaves some for codes and codebook.
const fn by_inputs<const HALVES: bool>() -> [AxpyKernel; 6] {
    [
        axpy::<1, 2, HALVES>,
        axpy::<2, 2, HALVES>,
        axpy::<3, 2, HALVES>,
        axpy::<4, 1, HALVES>,
        axpy::<5, 1, HALVES>,
        axpy::<6, 1, HALVES>,
    ]
}

/// See [`AxpyKernel`]. `WIDTH` stripes are computed together while there are as many.
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn axpy<const INPUTS: usize, const WIDTH: usize, const HALVES: bool>(run: &AxpyRun) {
    let whole = run.columns / (WIDTH * STRIPE) * WIDTH;
    // SAFETY: passed on.
    unsafe {
        for stripe in (0..whole).step_by(WIDTH) {
            stripes::<INPUTS, WIDTH, HALVES>(run, stripe, !0);
        }
        for stripe in whole..run.columns.div_ceil(STRIPE) {
            let words = (run.columns - stripe * STRIPE).min(STRIPE) / 4;
            stripes::<INPUTS, 1, HALVES>(run, stripe, (!0u32 >> (32 - words)) as __mmask16);
        }
    }
}

/// Some stripes, of which only `words` words of codes per row exist.
///
/// # Safety
/// As [`axpy`]; the stripes exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn stripes<const INPUTS: usize, const WIDTH: usize, const HALVES: bool>(
    run: &AxpyRun,
    stripe: usize,
    words: __mmask16,
) {
    // SAFETY: the caller's contract; only the words of columns that exist are read.
    unsafe {
        let codebook = _mm512_loadu_ps(run.codebook.as_ptr());
        let mut codes = run.codes.add(stripe * STRIPE / 2);
        let mut factors = run.factors;
        let mut sums = [[[_mm512_setzero_ps(); VECTORS]; INPUTS]; WIDTH];
        for _ in 0..run.rows {
            _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(run.ahead).cast());
            for (i, sums) in sums.iter_mut().enumerate() {
                let source = codes.add(i * STRIPE / 2).cast();
                let indices = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(words, source));
                let weights = [
                    _mm512_permutexvar_ps(indices, codebook),
                    _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(indices), codebook),
                    _mm512_permutexvar_ps(_mm512_srli_epi32::<8>(indices), codebook),
                    _mm512_permutexvar_ps(_mm512_srli_epi32::<12>(indices), codebook),
                ];
                for (input, sums) in sums.iter_mut().enumerate() {
                    let factor = factors.add(input * run.input_factors);
                    let factor = load_factor::<HALVES>(run, factor, stripe + i);
                    for (sum, weights) in sums.iter_mut().zip(&weights) {
                        *sum = _mm512_fmadd_ps(*weights, factor, *sum);
                    }
                }
            }
            codes = codes.wrapping_add(run.row_bytes);
            factors = factors.wrapping_add(run.row_factors);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (input, sums) in sums.iter().enumerate() {
                for (vector, sum) in sums.iter().enumerate() {
                    let place = input * run.sum_stride + (stripe + i) * STRIPE + vector * LANES;
                    let out = run.sums.add(place);
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
/// The row's factors begin at `factors`, the stripe has some.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_factor<const HALVES: bool>(run: &AxpyRun, factors: *const f32, stripe: usize) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe {
        if HALVES {
            let factors = factors.add(2 * stripe);
            let first = _mm512_set1_ps(*factors);
            return _mm512_mask_broadcastss_ps(first, 0xff00, _mm_load_ss(factors.add(1)));
        }
        _mm512_set1_ps(*factors.add((run.inside + stripe) >> run.shift))
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
        for input in 0..run.inputs {
            // SAFETY: masked-off elements are not touched.
            unsafe {
                let factor = run.input.offset(input as isize * run.input_stride).add(row * run.input_step);
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

//! Sums of scaled weight rows, straight from packed codes, decoded as in `dot.rs`: first the columns
//! in the lower nibbles of 32 bytes over all rows, then those in the upper ones, so that the sums fit
//! the registers.

use std::arch::x86_64::*;

use super::dot::{ORDER, load, look_up, planes};
use crate::backend::cpu::gemm::kernels::{AxpyKernel, AxpyKernels, AxpyRun, FactorRun};

const LANES: usize = 8;
/// Columns per 32 bytes of codes.
const STRIPE: usize = 64;
/// Vectors of the lower, or the upper, nibbles of a stripe.
const VECTORS: usize = STRIPE / 2 / LANES;

pub(super) const KERNELS: AxpyKernels = AxpyKernels {
    inputs: 48,
    kernels: [
        &[axpy::<1, false>, axpy::<2, false>, axpy::<3, false>] as &[AxpyKernel],
        &[axpy::<1, true>, axpy::<2, true>, axpy::<3, true>],
    ],
    factors,
    order,
};

/// See [`AxpyKernel`].
///
/// # Safety
/// The run is as its fields say; AVX2, FMA.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn axpy<const INPUTS: usize, const HALVES: bool>(run: &AxpyRun) {
    for stripe in 0..run.columns.div_ceil(STRIPE) {
        // SAFETY: passed on.
        unsafe {
            half_stripe::<INPUTS, HALVES, false>(run, stripe);
            half_stripe::<INPUTS, HALVES, true>(run, stripe);
        }
    }
}

/// The columns in the lower, or upper, nibbles of a stripe.
///
/// # Safety
/// As [`axpy`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn half_stripe<const INPUTS: usize, const HALVES: bool, const UPPER: bool>(
    run: &AxpyRun,
    stripe: usize,
) {
    let planes = planes(&run.codebook);
    let bytes = (run.columns - stripe * STRIPE).min(STRIPE) / 2;
    let mut codes = run.codes.wrapping_add(stripe * STRIPE / 2);
    let first = if HALVES { 2 * stripe } else { (run.inside + stripe) >> run.shift };
    let mut factors = run.factors.wrapping_add(first);
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; INPUTS];
    for _ in 0..run.rows {
        // SAFETY: the bytes and the factors exist.
        unsafe {
            let nibbles = load(codes, bytes);
            let nibbles = if UPPER { _mm256_srli_epi16::<4>(nibbles) } else { nibbles };
            let weights = look_up(_mm256_and_si256(nibbles, _mm256_set1_epi8(15)), &planes);
            if !UPPER {
                _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(run.ahead).cast());
            }
            for (input, sums) in sums.iter_mut().enumerate() {
                let factor = load_factor::<HALVES>(factors.add(input * run.input_factors));
                for (sum, weights) in sums.iter_mut().zip(&weights) {
                    *sum = _mm256_fmadd_ps(*weights, factor, *sum);
                }
            }
        }
        codes = codes.wrapping_add(run.row_bytes);
        factors = factors.wrapping_add(run.row_factors);
    }
    for (input, sums) in sums.iter().enumerate() {
        for (vector, sum) in sums.iter().enumerate() {
            let vector = if UPPER { VECTORS + vector } else { vector };
            // SAFETY: the sums have whole stripes.
            unsafe {
                let out = run.sums.add(input * run.sum_stride + stripe * STRIPE + vector * LANES);
                let sum = if run.add { _mm256_add_ps(*sum, _mm256_loadu_ps(out)) } else { *sum };
                _mm256_storeu_ps(out, sum);
            }
        }
    }
}

/// The factor of a stripe, or of its halves, lane by lane.
///
/// # Safety
/// The factors exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load_factor<const HALVES: bool>(factors: *const f32) -> __m256 {
    // SAFETY: the caller's contract.
    unsafe {
        match HALVES {
            true => _mm256_set_m128(_mm_set1_ps(*factors.add(1)), _mm_set1_ps(*factors)),
            false => _mm256_set1_ps(*factors),
        }
    }
}

/// See [`AxpyKernels::factors`].
///
/// # Safety
/// The run is as its fields say; AVX2, FMA.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn factors(run: &FactorRun) {
    let whole = run.count / LANES * LANES;
    let mut out = run.out;
    for row in 0..run.rows {
        let scales = run.scales.wrapping_add(row * run.scale_stride);
        for input in 0..run.inputs {
            // SAFETY: the scales and the input's element exist; `out` has room.
            unsafe {
                let factor = run
                    .input
                    .offset(input as isize * run.input_stride)
                    .add(row * run.input_step)
                    .read_unaligned();
                let factors = _mm256_set1_ps(factor);
                for start in (0..whole).step_by(LANES) {
                    let products = _mm256_mul_ps(_mm256_loadu_ps(scales.add(start)), factors);
                    _mm256_storeu_ps(out.add(start), products);
                }
                for i in whole..run.count {
                    *out.add(i) = *scales.add(i) * factor;
                }
            }
            out = out.wrapping_add(run.count);
        }
    }
}

/// See [`AxpyKernels::order`].
///
/// # Safety
/// `sums` covers the stripes.
unsafe fn order(sums: *mut f32, stripes: usize) {
    for stripe in 0..stripes {
        // SAFETY: the caller's contract.
        let stripe = unsafe { std::slice::from_raw_parts_mut(sums.add(stripe * STRIPE), STRIPE) };
        let mut ordered = [0f32; STRIPE];
        for (sum, place) in stripe.iter().zip(&ORDER) {
            ordered[usize::from(*place)] = *sum;
        }
        stripe.copy_from_slice(&ordered);
    }
}

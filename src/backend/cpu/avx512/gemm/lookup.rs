//! Dot products of one input row as in [`super::dot`], with double-quantized scales looked up where
//! they are used.

use std::arch::x86_64::*;

use super::dot::{AHEAD, BY64, CHUNK, WIDE};
use crate::backend::cpu::gemm::kernels::{DOT_ROWS, LOOKUP_LANES, LookupKernels, LookupRun};

const BY32: u8 = 2;

pub(super) const KERNELS: LookupKernels =
    LookupKernels { table, multiply: [multiply::<WIDE>, multiply::<BY64>, multiply::<BY32>], reduce };

/// See [`LookupKernels::table`].
///
/// # Safety
/// Both pointers cover 256 values; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn table(map: *const f32, nested: f32, offset: f32, out: *mut f32) {
    let (nested, offset) = (_mm512_set1_ps(nested), _mm512_set1_ps(offset));
    for i in (0..256).step_by(16) {
        // SAFETY: the caller's contract.
        unsafe {
            let product = _mm512_mul_ps(_mm512_loadu_ps(map.add(i)), nested);
            _mm512_storeu_ps(out.add(i), _mm512_add_ps(product, offset));
        }
    }
}

/// See [`LookupKernels::reduce`].
///
/// # Safety
/// `lanes` covers four vectors, `sums` four values; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn reduce(lanes: *const f32, sums: *mut f32) {
    for row in 0..DOT_ROWS {
        // SAFETY: the caller's contract.
        unsafe { *sums.add(row) += _mm512_reduce_add_ps(_mm512_loadu_ps(lanes.add(row * LOOKUP_LANES))) };
    }
}

/// See [`LookupKernels::multiply`].
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn multiply<const LAYOUT: u8>(run: &LookupRun<'_>) {
    // SAFETY: the caller's contract.
    unsafe {
        let codebook = _mm512_loadu_ps(run.codebook.as_ptr());
        let mut totals = [_mm512_setzero_ps(); DOT_ROWS];
        for (row, total) in totals.iter_mut().enumerate() {
            *total = _mm512_loadu_ps(run.lanes.add(row * LOOKUP_LANES));
        }
        for index in 0..run.chunks {
            let mut codes = [_mm512_setzero_si512(); DOT_ROWS];
            let mut scales = [_mm512_setzero_ps(); DOT_ROWS];
            for row in 0..DOT_ROWS {
                let source = run.codes[row].add(index * CHUNK / 2);
                codes[row] = _mm512_loadu_si512(source.cast());
                _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(AHEAD).cast());
                scales[row] = load_scales::<LAYOUT>(run, row, index);
            }
            let input = run.input.add(index * CHUNK);
            let mut partial = [_mm512_setzero_ps(); DOT_ROWS];
            macro_rules! nibble {
                ($j:literal) => {
                    let x = _mm512_loadu_ps(input.add($j * 16));
                    for row in 0..DOT_ROWS {
                        let index =
                            if $j == 0 { codes[row] } else { _mm512_srli_epi32::<{ 4 * $j }>(codes[row]) };
                        let weights = _mm512_permutexvar_ps(index, codebook);
                        partial[row] = match $j {
                            0 => _mm512_mul_ps(weights, x),
                            _ => _mm512_fmadd_ps(weights, x, partial[row]),
                        };
                    }
                };
            }
            nibble!(0);
            nibble!(1);
            nibble!(2);
            nibble!(3);
            nibble!(4);
            nibble!(5);
            nibble!(6);
            nibble!(7);
            for row in 0..DOT_ROWS {
                totals[row] = _mm512_fmadd_ps(partial[row], scales[row], totals[row]);
            }
        }
        for (row, total) in totals.iter().enumerate() {
            _mm512_storeu_ps(run.lanes.add(row * LOOKUP_LANES), *total);
        }
    }
}

/// The scales of a chunk, lane by lane.
///
/// # Safety
/// The chunk lies inside the run.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_scales<const LAYOUT: u8>(run: &LookupRun<'_>, row: usize, chunk: usize) -> __m512 {
    let table = run.tables.wrapping_add(row * 256);
    let codes = run.scales[row];
    // SAFETY: the layout has these scales for a whole chunk.
    unsafe {
        let scale = |index: usize| table.add(usize::from(*codes.add(index)));
        match LAYOUT {
            WIDE => _mm512_set1_ps(*scale(chunk >> run.shift)),
            BY64 => {
                let low = _mm512_set1_ps(*scale(chunk * 2));
                _mm512_mask_broadcastss_ps(low, 0xff00, _mm_load_ss(scale(chunk * 2 + 1)))
            }
            _ => {
                let low = _mm512_set1_ps(*scale(chunk * 4));
                let low = _mm512_mask_broadcastss_ps(low, 0x00f0, _mm_load_ss(scale(chunk * 4 + 1)));
                let low = _mm512_mask_broadcastss_ps(low, 0x0f00, _mm_load_ss(scale(chunk * 4 + 2)));
                _mm512_mask_broadcastss_ps(low, 0xf000, _mm_load_ss(scale(chunk * 4 + 3)))
            }
        }
    }
}

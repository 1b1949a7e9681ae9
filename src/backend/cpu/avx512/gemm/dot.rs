//! Dot products straight from packed codes.
//!
//! 64 bytes of codes are 16 double words of 8 nibbles. `vpermps` looks at the lowest 4 bits of an
//! index only, so shifting the double words right by `4 j` and permuting the codebook decodes nibble
//! `j` of each without masking or unpacking: 16 weights in two instructions. Lane `l` then holds
//! element `8 l + [1, 0, 3, 2, 5, 4, 7, 6][j]`, the first of a byte being its upper nibble; input
//! rows are packed in that order.

use std::arch::x86_64::*;

use super::lookup;
use crate::backend::cpu::gemm::kernels::{DOT_INPUTS, DOT_ROWS, DotKernel, DotKernels, DotRun};

/// Elements per 64 bytes of codes.
pub(super) const CHUNK: usize = 128;
/// How far ahead of a stream codes are fetched, in bytes. Far enough for the latency of memory, and
/// little enough not to crowd the input out of the first-level cache.
pub(super) const AHEAD: usize = 2048;

pub(super) const WIDE: u8 = 0;
pub(super) const BY64: u8 = 1;
const BY32: u8 = 2;

const fn by_inputs<const ROWS: usize, const LAYOUT: u8>() -> [DotKernel; DOT_INPUTS] {
    [dot::<ROWS, 1, LAYOUT>, dot::<ROWS, 2, LAYOUT>, dot::<ROWS, 3, LAYOUT>, dot::<ROWS, 4, LAYOUT>]
}

const fn by_layout<const ROWS: usize>() -> [[DotKernel; DOT_INPUTS]; 3] {
    [by_inputs::<ROWS, WIDE>(), by_inputs::<ROWS, BY64>(), by_inputs::<ROWS, BY32>()]
}

pub(super) const KERNELS: DotKernels = DotKernels {
    chunk: CHUNK,
    pack,
    wide: by_layout::<DOT_ROWS>(),
    lookup: Some(lookup::KERNELS),
    narrow: by_layout::<1>(),
};

/// See [`DotKernels::pack`]. Three times every second element is taken, which leaves the elements
/// of one place within eight in each vector.
///
/// # Safety
/// Both pointers cover a chunk; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn pack(chunk: *const f32, out: *mut f32) {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    let mut vectors = [_mm512_setzero_ps(); 8];
    // SAFETY: the caller's contract.
    unsafe {
        for (i, vector) in vectors.iter_mut().enumerate() {
            *vector = _mm512_loadu_ps(chunk.add(i * 16));
        }
        for _ in 0..3 {
            let before = vectors;
            for i in 0..4 {
                vectors[i] = _mm512_permutex2var_ps(before[2 * i], even, before[2 * i + 1]);
                vectors[i + 4] = _mm512_permutex2var_ps(before[2 * i], odd, before[2 * i + 1]);
            }
        }
        // Vector `i` now holds elements `i` of every eight.
        for nibble in 0..8 {
            _mm512_storeu_ps(out.add(nibble * 16), vectors[nibble ^ 1]);
        }
    }
}

/// Decodes nibble `$j` of every lane and multiplies. With one input row the sum of a chunk is
/// scaled (`$partial`); with several the weights are, whose products with the scale serve all rows.
/// A macro, since a function of this size would not be inlined, and its arrays would go to memory.
macro_rules! multiply_nibble {
    ($j:literal, $run:ident, $input:ident, $chunk:ident, $codebook:ident, $partial:ident, $totals:ident) => {
        let mut x = [_mm512_setzero_ps(); INPUTS];
        for (i, x) in x.iter_mut().enumerate() {
            *x = _mm512_loadu_ps($input.add(i * $run.input_stride + $j * 16));
        }
        for row in 0..ROWS {
            let codes = $chunk.codes[row];
            let index = if $j == 0 { codes } else { _mm512_srli_epi32::<{ 4 * $j }>(codes) };
            let weights = _mm512_permutexvar_ps(index, $codebook);
            if INPUTS == 1 {
                $partial[row] = if $j == 0 {
                    _mm512_mul_ps(weights, x[0])
                } else {
                    _mm512_fmadd_ps(weights, x[0], $partial[row])
                };
            } else {
                let weights = _mm512_mul_ps(weights, $chunk.scales[row]);
                for i in 0..INPUTS {
                    $totals[row][i] = _mm512_fmadd_ps(weights, x[i], $totals[row][i]);
                }
            }
        }
    };
}

/// See [`DotKernel`].
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn dot<const ROWS: usize, const INPUTS: usize, const LAYOUT: u8>(run: &DotRun<'_>, sums: *mut f32) {
    // SAFETY: the caller's contract; packed input rows are padded to whole chunks.
    unsafe {
        let codebook = _mm512_loadu_ps(run.codebook.as_ptr());
        let mut totals = [[_mm512_setzero_ps(); INPUTS]; ROWS];
        for index in 0..run.bytes.div_ceil(64) {
            let chunk = Chunk::<ROWS>::load::<LAYOUT>(run, index);
            let input = run.input.add(index * CHUNK);
            let mut partial = [_mm512_setzero_ps(); ROWS];
            multiply_nibble!(0, run, input, chunk, codebook, partial, totals);
            multiply_nibble!(1, run, input, chunk, codebook, partial, totals);
            multiply_nibble!(2, run, input, chunk, codebook, partial, totals);
            multiply_nibble!(3, run, input, chunk, codebook, partial, totals);
            multiply_nibble!(4, run, input, chunk, codebook, partial, totals);
            multiply_nibble!(5, run, input, chunk, codebook, partial, totals);
            multiply_nibble!(6, run, input, chunk, codebook, partial, totals);
            multiply_nibble!(7, run, input, chunk, codebook, partial, totals);
            if INPUTS == 1 {
                for row in 0..ROWS {
                    totals[row][0] = _mm512_fmadd_ps(partial[row], chunk.scales[row], totals[row][0]);
                }
            }
        }
        for (row, totals) in totals.iter().enumerate() {
            for (input, total) in totals.iter().enumerate() {
                *sums.add(row * INPUTS + input) += _mm512_reduce_add_ps(*total);
            }
        }
    }
}

/// 128 elements of each weight row.
struct Chunk<const ROWS: usize> {
    codes: [__m512i; ROWS],
    scales: [__m512; ROWS],
}

impl<const ROWS: usize> Chunk<ROWS> {
    /// # Safety
    /// The run has bytes from `index * 64` on; AVX-512 F, BW, VL, DQ.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn load<const LAYOUT: u8>(run: &DotRun<'_>, index: usize) -> Self {
        let rest = run.bytes - index * 64;
        let mut chunk = Chunk { codes: [_mm512_setzero_si512(); ROWS], scales: [_mm512_setzero_ps(); ROWS] };
        for row in 0..ROWS {
            // SAFETY: masked loads read only the last bytes of the run, and the scales of groups
            // that have bytes.
            unsafe {
                let source = run.codes[row].add(index * 64);
                if rest >= 64 {
                    chunk.codes[row] = _mm512_loadu_si512(source.cast());
                    _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(AHEAD).cast());
                    chunk.scales[row] = load_scales::<LAYOUT>(run, row, index);
                } else {
                    chunk.codes[row] = _mm512_maskz_loadu_epi8((1 << rest) - 1, source.cast());
                    chunk.scales[row] = load_last_scales::<LAYOUT>(run, row, index, rest.div_ceil(16));
                }
            }
        }
        chunk
    }
}

/// The scales of a whole chunk, lane by lane.
///
/// # Safety
/// The chunk lies inside the run.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_scales<const LAYOUT: u8>(run: &DotRun<'_>, row: usize, chunk: usize) -> __m512 {
    // SAFETY: the layout has these scales for a whole chunk.
    unsafe {
        match LAYOUT {
            WIDE => _mm512_set1_ps(*run.scales[row].add(chunk >> run.shift)),
            BY64 => {
                let pair = run.scales[row].add(chunk * 2);
                _mm512_mask_broadcastss_ps(_mm512_set1_ps(*pair), 0xff00, _mm_load_ss(pair.add(1)))
            }
            _ => spread(_mm_loadu_ps(run.scales[row].add(chunk * 4))),
        }
    }
}

/// The scales of a last chunk that has only `groups` groups of 32 elements; 0 for the others.
///
/// # Safety
/// The groups lie inside the run.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_last_scales<const LAYOUT: u8>(
    run: &DotRun<'_>,
    row: usize,
    chunk: usize,
    groups: usize,
) -> __m512 {
    // SAFETY: masked-off elements are not read; a layout has a scale wherever a group begins.
    unsafe {
        match LAYOUT {
            WIDE => _mm512_set1_ps(*run.scales[row].add(chunk >> run.shift)),
            BY64 => {
                let pair = _mm_maskz_loadu_ps((1 << groups.div_ceil(2)) - 1, run.scales[row].add(chunk * 2));
                spread(_mm_unpacklo_ps(pair, pair))
            }
            _ => spread(_mm_maskz_loadu_ps((1 << groups) - 1, run.scales[row].add(chunk * 4))),
        }
    }
}

/// Each of four scales to four lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn spread(scales: __m128) -> __m512 {
    let lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(scales))
}

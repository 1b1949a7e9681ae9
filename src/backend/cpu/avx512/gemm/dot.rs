//! Dot products straight from packed codes.
//!
//! 64 bytes of codes are 16 double words of 8 nibbles. `vpermps` looks at the lowest 4 bits of an
//! index only, so shifting the double words right by `4 j` and permuting the codebook decodes nibble
//! `j` of each without masking or unpacking: 16 weights in two instructions. Lane `l` then holds
//! element `8 l + [1, 0, 3, 2, 5, 4, 7, 6][j]`, the first of a byte being its upper nibble; input
//! rows are packed in that order.

use std::arch::x86_64::*;

use crate::backend::cpu::gemm::kernels::{DOT_INPUTS, DOT_ROWS, DotKernel, DotKernels, DotRun};

/// Elements per 64 bytes of codes.
const CHUNK: usize = 128;
/// How far ahead of a stream codes are fetched, in bytes. Far enough for the latency of memory, and
/// little enough not to crowd the input out of the first-level cache.
const AHEAD: usize = 2048;

const WIDE: u8 = 0;
const BY64: u8 = 1;
const BY32: u8 = 2;

const ORDER: [u8; CHUNK] = {
    let mut order = [0; CHUNK];
    let mut i = 0;
    while i < CHUNK {
        let (nibble, lane) = (i / 16, i % 16);
        order[i] = (lane * 8 + (nibble ^ 1)) as u8;
        i += 1;
    }
    order
};

const fn by_inputs<const ROWS: usize, const LAYOUT: u8>() -> [DotKernel; DOT_INPUTS] {
    [dot::<ROWS, 1, LAYOUT>, dot::<ROWS, 2, LAYOUT>, dot::<ROWS, 3, LAYOUT>, dot::<ROWS, 4, LAYOUT>]
}

const fn by_layout<const ROWS: usize>() -> [[DotKernel; DOT_INPUTS]; 3] {
    [by_inputs::<ROWS, WIDE>(), by_inputs::<ROWS, BY64>(), by_inputs::<ROWS, BY32>()]
}

pub(super) const KERNELS: DotKernels =
    DotKernels { chunk: CHUNK, order: &ORDER, wide: by_layout::<DOT_ROWS>(), narrow: by_layout::<1>() };

/// The sums of one call.
type Sums<const ROWS: usize, const INPUTS: usize> = [[__m512; INPUTS]; ROWS];

/// See [`DotKernel`].
///
/// # Safety
/// The run is as its fields say; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn dot<const ROWS: usize, const INPUTS: usize, const LAYOUT: u8>(run: &DotRun, sums: *mut f32) {
    // SAFETY: the caller's contract; masked loads read only the last bytes of the run and scales of
    // groups that have bytes.
    unsafe {
        let codebook = _mm512_loadu_ps(run.codebook.as_ptr());
        let mut totals: Sums<ROWS, INPUTS> = [[_mm512_setzero_ps(); INPUTS]; ROWS];
        let chunks = run.bytes / 64;
        for chunk in 0..chunks {
            let mut codes = [_mm512_setzero_si512(); ROWS];
            let mut scales = [_mm512_setzero_ps(); ROWS];
            for row in 0..ROWS {
                let source = run.codes[row].add(chunk * 64);
                codes[row] = _mm512_loadu_si512(source.cast());
                _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(AHEAD).cast());
                scales[row] = load_scales::<LAYOUT>(run, row, chunk);
            }
            step::<ROWS, INPUTS>(run, chunk, &codes, &scales, codebook, &mut totals);
        }
        let rest = run.bytes % 64;
        if rest > 0 {
            let mask = (1u64 << rest) - 1;
            let mut codes = [_mm512_setzero_si512(); ROWS];
            let mut scales = [_mm512_setzero_ps(); ROWS];
            for row in 0..ROWS {
                codes[row] = _mm512_maskz_loadu_epi8(mask, run.codes[row].add(chunks * 64).cast());
                scales[row] = load_last_scales::<LAYOUT>(run, row, chunks, rest.div_ceil(16));
            }
            step::<ROWS, INPUTS>(run, chunks, &codes, &scales, codebook, &mut totals);
        }
        for (row, totals) in totals.iter().enumerate() {
            for (input, total) in totals.iter().enumerate() {
                *sums.add(row * INPUTS + input) += _mm512_reduce_add_ps(*total);
            }
        }
    }
}

/// One chunk. With one input row the block's sum is scaled, with several the weights are: their
/// products with the scale serve all rows.
///
/// # Safety
/// As [`dot`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn step<const ROWS: usize, const INPUTS: usize>(
    run: &DotRun,
    chunk: usize,
    codes: &[__m512i; ROWS],
    scales: &[__m512; ROWS],
    codebook: __m512,
    totals: &mut Sums<ROWS, INPUTS>,
) {
    let input = run.input.wrapping_add(chunk * CHUNK);
    let mut partial = [_mm512_setzero_ps(); ROWS];
    macro_rules! nibble {
        ($j:literal) => {
            let mut x = [_mm512_setzero_ps(); INPUTS];
            for (i, x) in x.iter_mut().enumerate() {
                // SAFETY: packed input rows are padded to whole chunks.
                *x = unsafe { _mm512_loadu_ps(input.add(i * run.input_stride + $j * 16)) };
            }
            for row in 0..ROWS {
                let index = if $j == 0 { codes[row] } else { _mm512_srli_epi32::<{ 4 * $j }>(codes[row]) };
                let weights = _mm512_permutexvar_ps(index, codebook);
                if INPUTS == 1 {
                    partial[row] = if $j == 0 {
                        _mm512_mul_ps(weights, x[0])
                    } else {
                        _mm512_fmadd_ps(weights, x[0], partial[row])
                    };
                } else {
                    let weights = _mm512_mul_ps(weights, scales[row]);
                    for i in 0..INPUTS {
                        totals[row][i] = _mm512_fmadd_ps(weights, x[i], totals[row][i]);
                    }
                }
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
    if INPUTS == 1 {
        for row in 0..ROWS {
            totals[row][0] = _mm512_fmadd_ps(partial[row], scales[row], totals[row][0]);
        }
    }
}

/// The scales of a whole chunk, lane by lane.
///
/// # Safety
/// The chunk lies inside the run.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_scales<const LAYOUT: u8>(run: &DotRun, row: usize, chunk: usize) -> __m512 {
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
    run: &DotRun,
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

//! Dot products straight from packed codes.
//!
//! The four bytes of the codebook's values stand in four registers. `vpshufb` looks up 32 nibbles in
//! each of them, and interleaving the four planes, bytes then words, yields the values: 12 shuffles
//! for 32 exact weights, which two shuffle ports share. The order that interleaving inside 128-bit
//! lanes leaves is given to the input instead.

use std::arch::x86_64::*;

use crate::backend::cpu::gemm::kernels::{DOT_INPUTS, DOT_ROWS, DotKernel, DotKernels, DotRun};

/// Elements per 32 bytes of codes.
const CHUNK: usize = 64;
/// How far ahead of a stream codes are fetched, in bytes.
const AHEAD: usize = 2048;

const WIDE: u8 = 0;
const BY64: u8 = 1;
const BY32: u8 = 2;

const fn by_inputs<const ROWS: usize, const LAYOUT: u8>() -> [DotKernel; DOT_INPUTS] {
    [dot::<ROWS, 1, LAYOUT>, dot::<ROWS, 2, LAYOUT>, dot::<ROWS, 3, LAYOUT>, dot::<ROWS, 4, LAYOUT>]
}

const fn by_layout<const ROWS: usize>() -> [[DotKernel; DOT_INPUTS]; 3] {
    [by_inputs::<ROWS, WIDE>(), by_inputs::<ROWS, BY64>(), by_inputs::<ROWS, BY32>()]
}

pub(super) const KERNELS: DotKernels =
    DotKernels { chunk: CHUNK, pack, wide: by_layout::<DOT_ROWS>(), narrow: by_layout::<1>() };

/// Element of a chunk at each place of a packed one: first the lower nibbles, the second elements of
/// their bytes; of every vector, four of bytes 0 to 15 and four of bytes 16 to 31.
pub(super) const ORDER: [u8; CHUNK] = {
    let mut order = [0; CHUNK];
    let mut i = 0;
    while i < CHUNK {
        let (vector, lane) = (i / 8, i % 8);
        let byte = vector % 4 * 4 + lane % 4 + lane / 4 * 16;
        order[i] = (byte * 2 + if vector < 4 { 1 } else { 0 }) as u8;
        i += 1;
    }
    order
};

/// See [`DotKernels::pack`].
///
/// # Safety
/// Both pointers cover a chunk.
unsafe fn pack(chunk: *const f32, out: *mut f32) {
    for (i, element) in ORDER.iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { *out.add(i) = *chunk.add(usize::from(*element)) };
    }
}

/// See [`DotKernel`]. The sum of a chunk is scaled, not the weights.
///
/// # Safety
/// The run is as its fields say; AVX2, FMA.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot<const ROWS: usize, const INPUTS: usize, const LAYOUT: u8>(run: &DotRun, sums: *mut f32) {
    let planes = planes(&run.codebook);
    let mut totals = [[_mm256_setzero_ps(); INPUTS]; ROWS];
    for chunk in 0..run.bytes.div_ceil(32) {
        let bytes = run.bytes - chunk * 32;
        let input = run.input.wrapping_add(chunk * CHUNK);
        for (row, totals) in totals.iter_mut().enumerate() {
            let source = run.codes[row].wrapping_add(chunk * 32);
            _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(AHEAD).cast());
            // SAFETY: the chunk's bytes and scales exist; packed input is padded to whole chunks.
            unsafe {
                let partial = multiply::<INPUTS>(load(source, bytes), &planes, input, run.input_stride);
                let scales = load_scales::<LAYOUT>(run, row, chunk, bytes);
                for (total, partial) in totals.iter_mut().zip(&partial) {
                    *total = _mm256_fmadd_ps(*partial, scales, *total);
                }
            }
        }
    }
    for (row, totals) in totals.iter().enumerate() {
        for (input, total) in totals.iter().enumerate() {
            // SAFETY: the caller's contract.
            unsafe { *sums.add(row * INPUTS + input) += reduce(*total) };
        }
    }
}

/// The unscaled sums of a chunk with each input row.
///
/// # Safety
/// The input rows have a chunk.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<const INPUTS: usize>(
    codes: __m256i,
    planes: &[__m256i; 4],
    input: *const f32,
    stride: usize,
) -> [__m256; INPUTS] {
    let nibble = _mm256_set1_epi8(15);
    let mut sums = [_mm256_setzero_ps(); INPUTS];
    for upper in 0..2 {
        let shifted = if upper == 1 { _mm256_srli_epi16::<4>(codes) } else { codes };
        let weights = look_up(_mm256_and_si256(shifted, nibble), planes);
        for (vector, weights) in weights.iter().enumerate() {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's contract.
                let x = unsafe { _mm256_loadu_ps(input.add(i * stride + (upper * 4 + vector) * 8)) };
                *sum = _mm256_fmadd_ps(*weights, x, *sum);
            }
        }
    }
    sums
}

/// The values of 32 nibbles, one to a byte.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn look_up(nibbles: __m256i, planes: &[__m256i; 4]) -> [__m256; 4] {
    let (b0, b1) = (_mm256_shuffle_epi8(planes[0], nibbles), _mm256_shuffle_epi8(planes[1], nibbles));
    let (b2, b3) = (_mm256_shuffle_epi8(planes[2], nibbles), _mm256_shuffle_epi8(planes[3], nibbles));
    let (low0, high0) = (_mm256_unpacklo_epi8(b0, b1), _mm256_unpackhi_epi8(b0, b1));
    let (low1, high1) = (_mm256_unpacklo_epi8(b2, b3), _mm256_unpackhi_epi8(b2, b3));
    [
        _mm256_castsi256_ps(_mm256_unpacklo_epi16(low0, low1)),
        _mm256_castsi256_ps(_mm256_unpackhi_epi16(low0, low1)),
        _mm256_castsi256_ps(_mm256_unpacklo_epi16(high0, high1)),
        _mm256_castsi256_ps(_mm256_unpackhi_epi16(high0, high1)),
    ]
}

/// Byte `p` of all values, in both lanes, for each `p`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn planes(codebook: &[f32; 16]) -> [__m256i; 4] {
    let mut planes = [_mm256_setzero_si256(); 4];
    for (p, plane) in planes.iter_mut().enumerate() {
        let mut bytes = [0u8; 16];
        for (byte, value) in bytes.iter_mut().zip(codebook) {
            *byte = value.to_le_bytes()[p];
        }
        // SAFETY: 16 bytes.
        *plane = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
    }
    planes
}

/// 32 bytes of codes; zeros beyond `count`.
///
/// # Safety
/// The bytes exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn load(source: *const u8, count: usize) -> __m256i {
    // SAFETY: the bytes exist, or are copied to where 32 do.
    unsafe {
        if count >= 32 {
            return _mm256_loadu_si256(source.cast());
        }
        let mut bytes = [0u8; 32];
        source.copy_to_nonoverlapping(bytes.as_mut_ptr(), count);
        _mm256_loadu_si256(bytes.as_ptr().cast())
    }
}

/// The scales of a chunk that has `bytes` bytes, lane by lane.
///
/// # Safety
/// The chunk lies inside the run.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load_scales<const LAYOUT: u8>(run: &DotRun, row: usize, chunk: usize, bytes: usize) -> __m256 {
    let scales = run.scales[row];
    // SAFETY: the layout has these scales wherever it has bytes.
    unsafe {
        match LAYOUT {
            WIDE => _mm256_set1_ps(*scales.add(chunk >> (run.shift + 1))),
            BY64 => _mm256_set1_ps(*scales.add(chunk)),
            BY32.. => {
                let low = scales.add(chunk * 2);
                let high = if bytes > 16 { *low.add(1) } else { 0.0 };
                _mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(*low))
            }
        }
    }
}

/// The pairwise sum of the lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn reduce(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

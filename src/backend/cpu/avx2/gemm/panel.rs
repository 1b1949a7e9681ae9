//! Decoding to `f32` panels, and multiplying by them.

use std::arch::x86_64::*;

use crate::backend::cpu::gemm::kernels::{ColumnRun, PanelKernels, RowRun, Tile};

const LANES: usize = 8;
/// 6 rows of 2 vectors are 12 accumulators, which leaves 2 registers for `b` and one for `a`.
const ROWS: usize = 6;
const VECTORS: usize = 2;

pub(super) const KERNELS: PanelKernels =
    PanelKernels { rows: ROWS, columns: VECTORS * LANES, lanes: LANES, decode_columns, decode_rows, tile };

/// See [`PanelKernels::tile`].
///
/// # Safety
/// The tile is as its fields say, at most [`ROWS`] by [`VECTORS`]; AVX2, FMA.
unsafe fn tile(tile: &Tile) {
    macro_rules! rows {
        ($vectors:literal) => {
            match tile.rows {
                1 => tile_of::<1, $vectors>(tile),
                2 => tile_of::<2, $vectors>(tile),
                3 => tile_of::<3, $vectors>(tile),
                4 => tile_of::<4, $vectors>(tile),
                5 => tile_of::<5, $vectors>(tile),
                _ => tile_of::<6, $vectors>(tile),
            }
        };
    }
    // SAFETY: passed on.
    unsafe {
        match tile.vectors {
            1 => rows!(1),
            _ => rows!(2),
        }
    }
}

/// Indices, not iterators: with those the sums go to memory.
///
/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx2,fma,f16c")]
#[allow(clippy::needless_range_loop)]
unsafe fn tile_of<const R: usize, const V: usize>(tile: &Tile) {
    let mut sums = [[_mm256_setzero_ps(); V]; R];
    // SAFETY: the caller's contract.
    unsafe {
        let (mut a, mut b) = (tile.a, tile.b);
        for _ in 0..tile.depth {
            let mut vectors = [_mm256_setzero_ps(); V];
            for v in 0..V {
                vectors[v] = _mm256_loadu_ps(b.add(v * LANES));
            }
            for r in 0..R {
                let factor = _mm256_castsi256_ps(_mm256_set1_epi32(
                    a.wrapping_offset(r as isize * tile.a_stride).cast::<i32>().read_unaligned(),
                ));
                for v in 0..V {
                    sums[r][v] = _mm256_fmadd_ps(factor, vectors[v], sums[r][v]);
                }
            }
            (a, b) = (a.wrapping_add(1), b.wrapping_add(tile.b_stride));
        }
        for r in 0..R {
            for v in 0..V {
                let c = tile.c.add(r * tile.c_stride + v * LANES);
                let before = if tile.add { _mm256_loadu_ps(c) } else { _mm256_setzero_ps() };
                _mm256_storeu_ps(c, _mm256_add_ps(sums[r][v], before));
            }
        }
    }
}

/// The codebook in two halves. `vpermps` chooses by the lowest three bits of an index in both.
struct Codebook {
    low: __m256,
    high: __m256,
}

impl Codebook {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new(values: &[f32; 16]) -> Self {
        // SAFETY: 16 values.
        unsafe {
            let (low, high) = (_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8)));
            Codebook { low, high }
        }
    }

    /// The values of the lanes' lowest four bits; the fourth stands in the sign of `fourth`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn look_up(&self, index: __m256i, fourth: __m256i) -> __m256 {
        let low = _mm256_permutevar8x32_ps(self.low, index);
        let high = _mm256_permutevar8x32_ps(self.high, index);
        _mm256_blendv_ps(low, high, _mm256_castsi256_ps(fourth))
    }
}

/// See [`PanelKernels::decode_columns`]: lanes hold weight rows, eight elements of each at a time.
///
/// # Safety
/// The run is as its fields say; AVX2, FMA.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn decode_columns(run: &ColumnRun<'_>) {
    let weight = run.weight;
    let shift = weight.block_size.shift();
    let codebook = Codebook::new(&weight.codebook);
    let first = |lane: usize| (run.row + lane.min(run.rows - 1)) * run.row_length + run.start;
    for start in (0..run.count).step_by(32) {
        let mut scales = [0f32; LANES];
        for (lane, scale) in scales.iter_mut().enumerate() {
            // SAFETY: the element exists.
            *scale = unsafe { weight.scales.get((first(lane) + start) >> shift) };
        }
        for eight in (start..start + 32).step_by(8) {
            let mut codes = [0i32; LANES];
            for (lane, codes) in codes.iter_mut().enumerate() {
                let source = weight.codes.wrapping_add((first(lane) + eight) / 2);
                // SAFETY: four bytes of eight elements that exist.
                *codes = unsafe { source.cast::<i32>().read_unaligned() };
            }
            // SAFETY: eight values each; the panel has these rows.
            unsafe {
                let codes = _mm256_loadu_si256(codes.as_ptr().cast());
                let scales = _mm256_loadu_ps(scales.as_ptr());
                decode_eight(codes, &codebook, scales, run.panel.add(eight * run.stride), run.stride);
            }
        }
    }
}

/// Decodes the eight nibbles of each lane to eight panel rows.
///
/// # Safety
/// The rows have room for 8 elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn decode_eight(codes: __m256i, codebook: &Codebook, scales: __m256, out: *mut f32, stride: usize) {
    macro_rules! nibble {
        ($j:literal) => {{
            let index = _mm256_srli_epi32::<{ 4 * $j }>(codes);
            let weights = codebook.look_up(index, _mm256_slli_epi32::<{ 28 - 4 * $j }>(codes));
            // The first element of a byte is its upper nibble.
            // SAFETY: the caller's contract.
            unsafe { _mm256_storeu_ps(out.add(($j ^ 1) * stride), _mm256_mul_ps(weights, scales)) };
        }};
    }
    nibble!(0);
    nibble!(1);
    nibble!(2);
    nibble!(3);
    nibble!(4);
    nibble!(5);
    nibble!(6);
    nibble!(7);
}

/// See [`PanelKernels::decode_rows`].
///
/// # Safety
/// The run is as its fields say; AVX2, FMA.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn decode_rows(run: &RowRun<'_>) {
    let weight = run.weight;
    let shift = weight.block_size.shift();
    let codebook = Codebook::new(&weight.codebook);
    for row in 0..run.rows {
        let mut element = run.first + row * run.row_length;
        let end = element + run.count;
        let mut out = run.out.wrapping_add(row * run.stride);
        // SAFETY: the elements exist, and `out` has room for them.
        unsafe {
            if element < end && element % 2 == 1 {
                let nibble = *weight.codes.add(element / 2) & 15;
                *out = weight.codebook[usize::from(nibble)] * weight.scales.get(element >> shift);
                (element, out) = (element + 1, out.add(1));
            }
            while element < end {
                let count = end.min(((element >> shift) + 1) << shift) - element;
                let scale = weight.scales.get(element >> shift);
                decode_block(weight.codes.add(element / 2), count, &codebook, scale, out);
                (element, out) = (element + count, out.add(count));
            }
        }
    }
}

/// Decodes `count` elements of one block from the start of a byte, in their own order.
///
/// # Safety
/// The bytes exist, and `out` has room.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn decode_block(codes: *const u8, count: usize, codebook: &Codebook, scale: f32, out: *mut f32) {
    let shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    let scale = _mm256_set1_ps(scale);
    for i in (0..count).step_by(LANES) {
        let rest = count - i;
        // SAFETY: the elements exist, and `out` has room for them.
        unsafe {
            let source = codes.add(i / 2);
            let four = if rest >= LANES {
                source.cast::<i32>().read_unaligned()
            } else {
                let mut four = [0u8; 4];
                source.copy_to_nonoverlapping(four.as_mut_ptr(), rest.div_ceil(2));
                i32::from_le_bytes(four)
            };
            let index = _mm256_srlv_epi32(_mm256_set1_epi32(four), shifts);
            let weights = codebook.look_up(index, _mm256_slli_epi32::<28>(index));
            let weights = _mm256_mul_ps(weights, scale);
            if rest >= LANES {
                _mm256_storeu_ps(out.add(i), weights);
            } else {
                let mut last = [0f32; LANES];
                _mm256_storeu_ps(last.as_mut_ptr(), weights);
                out.add(i).copy_from_nonoverlapping(last.as_ptr(), rest);
            }
        }
    }
}

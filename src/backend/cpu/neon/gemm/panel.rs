//! Decoding to `f32` panels, and multiplying by them.

use std::arch::aarch64::*;

use super::decode::{BYTES, Planes, in_order, load};
use crate::backend::cpu::gemm::kernels::{ColumnRun, PanelKernels, RowRun, Tile};

const LANES: usize = 4;
/// 6 rows of 4 vectors are 24 accumulators, which leaves 4 registers for `b` and one for `a`.
const ROWS: usize = 6;
const VECTORS: usize = 4;
/// Elements that are decoded at a time.
const RUN: usize = 2 * BYTES;

pub(super) const KERNELS: PanelKernels =
    PanelKernels { rows: ROWS, columns: VECTORS * LANES, lanes: LANES, decode_columns, decode_rows, tile };

/// See [`PanelKernels::tile`].
///
/// # Safety
/// The tile is as its fields say, at most [`ROWS`] by [`VECTORS`]; Advanced SIMD.
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
            2 => rows!(2),
            3 => rows!(3),
            _ => rows!(4),
        }
    }
}

/// Indices, not iterators: with those the sums may go to memory.
///
/// # Safety
/// As [`tile`].
#[target_feature(enable = "neon")]
#[allow(clippy::needless_range_loop)]
unsafe fn tile_of<const R: usize, const V: usize>(tile: &Tile) {
    let mut sums = [[vdupq_n_f32(0.0); V]; R];
    // SAFETY: the caller's contract.
    unsafe {
        let (mut a, mut b) = (tile.a, tile.b);
        for _ in 0..tile.depth {
            let mut vectors = [vdupq_n_f32(0.0); V];
            for v in 0..V {
                vectors[v] = vld1q_f32(b.add(v * LANES));
            }
            for r in 0..R {
                let factor = a.wrapping_offset(r as isize * tile.a_stride).read_unaligned();
                for v in 0..V {
                    sums[r][v] = vfmaq_n_f32(sums[r][v], vectors[v], factor);
                }
            }
            (a, b) = (a.wrapping_add(1), b.wrapping_add(tile.b_stride));
        }
        for r in 0..R {
            for v in 0..V {
                let c = tile.c.add(r * tile.c_stride + v * LANES);
                let before = if tile.add { vld1q_f32(c) } else { vdupq_n_f32(0.0) };
                vst1q_f32(c, vaddq_f32(sums[r][v], before));
            }
        }
    }
}

/// See [`PanelKernels::decode_columns`]: rows are decoded in order, then transposed four by four.
///
/// # Safety
/// The run is as its fields say; Advanced SIMD.
#[target_feature(enable = "neon")]
unsafe fn decode_columns(run: &ColumnRun<'_>) {
    let weight = run.weight;
    let shift = weight.block_size.shift();
    let planes = Planes::new(&weight.codebook);
    let first = |lane: usize| (run.row + lane.min(run.rows - 1)) * run.row_length + run.start;
    for start in (0..run.count).step_by(RUN) {
        let mut rows = [[vdupq_n_f32(0.0); RUN / LANES]; LANES];
        for (lane, row) in rows.iter_mut().enumerate() {
            let element = first(lane) + start;
            // SAFETY: 32 elements that exist.
            let (scale, codes) =
                unsafe { (weight.scales.get(element >> shift), load(weight.codes.add(element / 2), BYTES)) };
            *row = in_order(&planes, codes);
            for values in row {
                *values = vmulq_n_f32(*values, scale);
            }
        }
        for four in 0..RUN / LANES {
            let columns = transpose([rows[0][four], rows[1][four], rows[2][four], rows[3][four]]);
            for (i, column) in columns.into_iter().enumerate() {
                // SAFETY: the panel has this row.
                unsafe { vst1q_f32(run.panel.add((start + four * LANES + i) * run.stride), column) };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn transpose(rows: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let (a, b) = (vtrn1q_f32(rows[0], rows[1]), vtrn2q_f32(rows[0], rows[1]));
    let (c, d) = (vtrn1q_f32(rows[2], rows[3]), vtrn2q_f32(rows[2], rows[3]));
    let low = |x, y| vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
    let high = |x, y| vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
    [low(a, c), low(b, d), high(a, c), high(b, d)]
}

/// See [`PanelKernels::decode_rows`].
///
/// # Safety
/// The run is as its fields say; Advanced SIMD.
#[target_feature(enable = "neon")]
unsafe fn decode_rows(run: &RowRun<'_>) {
    let weight = run.weight;
    let shift = weight.block_size.shift();
    let planes = Planes::new(&weight.codebook);
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
                decode_block(weight.codes.add(element / 2), count, &planes, scale, out);
                (element, out) = (element + count, out.add(count));
            }
        }
    }
}

/// Decodes `count` elements of one block from the start of a byte.
///
/// # Safety
/// The bytes exist, and `out` has room.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn decode_block(codes: *const u8, count: usize, planes: &Planes, scale: f32, out: *mut f32) {
    for i in (0..count).step_by(RUN) {
        let rest = count - i;
        let mut last = [0f32; RUN];
        // SAFETY: the elements exist, and `out` has room for them.
        unsafe {
            let place = if rest >= RUN { out.add(i) } else { last.as_mut_ptr() };
            let values = in_order(planes, load(codes.add(i / 2), rest.div_ceil(2)));
            for (four, values) in values.into_iter().enumerate() {
                vst1q_f32(place.add(four * LANES), vmulq_n_f32(values, scale));
            }
            if rest < RUN {
                out.add(i).copy_from_nonoverlapping(last.as_ptr(), rest);
            }
        }
    }
}

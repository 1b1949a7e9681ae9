//! Tiles of sums to rows of output.

use std::arch::x86_64::*;

use crate::backend::cpu::avx512::transpose;
use crate::backend::cpu::gemm::kernels::{Collect, PANEL_TILES, TILE_WIDTH, TileOrder};

/// `f32` elements of a tile of sums.
const TILE: usize = TILE_WIDTH * TILE_WIDTH;
/// Elements of a collected row.
const ROW: usize = PANEL_TILES * TILE_WIDTH;

/// See [`TileKernels::collect`](crate::backend::cpu::gemm::kernels::TileKernels::collect).
///
/// # Safety
/// The pointers cover [`PANEL_TILES`] tiles; AVX-512 F, BW, VL, DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) unsafe fn collect(run: &Collect) {
    // SAFETY: passed on.
    unsafe {
        match (run.transpose, run.order) {
            (false, _) => from_columns(run),
            (true, TileOrder::Natural) => from_rows(run),
            (true, _) => from_decoded_rows(run),
        }
    }
}

/// Forward, a tile's rows are output columns.
///
/// # Safety
/// As [`collect`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn from_columns(run: &Collect) {
    for tile in 0..PANEL_TILES {
        let mut rows = [_mm512_setzero_si512(); TILE_WIDTH];
        // SAFETY: the caller's contract.
        unsafe {
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_si512(run.sums.add(tile * TILE + i * TILE_WIDTH).cast());
            }
            for (i, row) in transpose(rows).into_iter().enumerate() {
                _mm512_storeu_si512(run.out.add(i * ROW + tile * TILE_WIDTH).cast(), row);
            }
        }
    }
}

/// # Safety
/// As [`collect`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn from_rows(run: &Collect) {
    for tile in 0..PANEL_TILES {
        for row in 0..TILE_WIDTH {
            // SAFETY: the caller's contract.
            unsafe {
                let sums = _mm512_loadu_ps(run.sums.add(tile * TILE + row * TILE_WIDTH));
                _mm512_storeu_ps(run.out.add(row * ROW + tile * TILE_WIDTH), sums);
            }
        }
    }
}

/// Columns in the order in which interleaving two decoded rows yields them: tiles 0 and 1 hold the
/// elements 1 and 0 of every four, tiles 2 and 3 the elements 3 and 2; of each, groups of four lanes
/// alternate between the two tiles, and the upper half of the lanes holds the even elements.
///
/// # Safety
/// As [`collect`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn from_decoded_rows(run: &Collect) {
    for row in 0..TILE_WIDTH {
        for vector in 0..PANEL_TILES {
            // Lane `4 j + [0, 1, 2, 3]` comes from lanes `8 + start + j` and `start + j` of the first
            // tile, then of the second.
            let start = (vector / 2 * 4) as i32;
            let lanes = _mm512_setr_epi32(8, 0, 24, 16, 9, 1, 25, 17, 10, 2, 26, 18, 11, 3, 27, 19);
            let lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(start));
            // SAFETY: the caller's contract.
            unsafe {
                let tile = |i: usize| run.sums.add(i * TILE + row * TILE_WIDTH);
                let (first, second) = (tile(vector % 2), tile(2 + vector % 2));
                let sums = _mm512_permutex2var_ps(_mm512_loadu_ps(first), lanes, _mm512_loadu_ps(second));
                _mm512_storeu_ps(run.out.add(row * ROW + vector * TILE_WIDTH), sums);
            }
        }
    }
}

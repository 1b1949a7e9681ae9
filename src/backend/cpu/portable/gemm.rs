//! Products, in plain Rust.
//!
//! Every output element is a sum over sixteen `f32` accumulators, the term `i` of the sum going to
//! accumulator `i % 16`, combined pairwise at the end: the result depends on neither the tiling nor
//! the number of threads, and its error grows with a sixteenth of the length.

use super::convert::{load, store};
use super::dequantize::decode;
use crate::backend::GemmJob;
use crate::backend::cpu::gemm::Workspace;
use crate::backend::cpu::runner::{Runner, Shared};
use crate::error::Result;

/// Accumulators per output element.
const LANES: usize = 16;
/// Rows of input and output per tile.
const TILE_M: usize = 8;
/// Weight rows per tile.
const TILE_N: usize = 16;
/// Length of a panel along the sum; a multiple of [`LANES`].
const PANEL: usize = 256;
/// Weight columns per tile of the transposed product.
const TILE_COLUMNS: usize = 64;

/// Computes the jobs, one after the other.
///
/// # Safety
/// The jobs' pointers are as their fields say.
pub(crate) unsafe fn gemm(jobs: &[GemmJob], runner: &Runner, _: &Workspace) -> Result<()> {
    // SAFETY: passed on.
    jobs.iter().for_each(|job| unsafe { product(job, runner) });
    Ok(())
}

/// Computes one job.
///
/// # Safety
/// The job's pointers are as its fields say.
unsafe fn product(job: &GemmJob, runner: &Runner) {
    let (rows, width) = (job.m as usize, if job.transpose { job.k } else { job.n } as usize);
    let tile_width = if job.transpose { TILE_COLUMNS } else { TILE_N };
    let tiles = width.div_ceil(tile_width);
    // SAFETY: tasks write disjoint columns of the output.
    let shared = unsafe { Shared::new(*job) };
    runner.run(tiles, &|tile| {
        let job = shared.get();
        let columns = tile * tile_width..width.min((tile + 1) * tile_width);
        for m0 in (0..rows).step_by(TILE_M) {
            let m = m0..rows.min(m0 + TILE_M);
            // SAFETY: the caller's contract; the tile lies inside the output.
            unsafe {
                if job.transpose {
                    transposed_tile(job, m, columns.clone())
                } else {
                    tile_of(job, m, columns.clone())
                }
            }
        }
    });
}

type Range = std::ops::Range<usize>;

/// `output[m, n] = sum over k of input[m, k] * W[n, k]`.
///
/// # Safety
/// The tile, at most [`TILE_M`] by [`TILE_N`], lies inside the output.
unsafe fn tile_of(job: &GemmJob, m: Range, n: Range) {
    let depth = job.k as usize;
    let mut sums = [[[0f32; LANES]; TILE_N]; TILE_M];
    let mut weights = [[0f32; PANEL]; TILE_N];
    let mut input = [0f32; PANEL];
    for k in (0..depth).step_by(PANEL) {
        let length = PANEL.min(depth - k);
        for (row, panel) in n.clone().zip(&mut weights) {
            // SAFETY: `k + length <= depth`.
            unsafe { decode(&job.weight, row * depth + k, &mut panel[..length]) };
        }
        for (row, sums) in m.clone().zip(&mut sums) {
            // SAFETY: as above.
            unsafe { load_input(job, row, k, &mut input[..length]) };
            for (panel, sum) in weights.iter().take(n.len()).zip(sums) {
                dot(&input[..length], &panel[..length], sum);
            }
        }
    }
    for (row, sums) in m.zip(&sums) {
        let mut values: [f32; TILE_N] = std::array::from_fn(|i| reduce(sums[i]));
        // SAFETY: the caller's contract.
        unsafe { store_output(job, row, n.start, &mut values[..n.len()]) };
    }
}

/// `output[m, k] = sum over n of input[m, n] * W[n, k]`.
///
/// # Safety
/// The tile, at most [`TILE_M`] by [`TILE_COLUMNS`], lies inside the output.
unsafe fn transposed_tile(job: &GemmJob, m: Range, columns: Range) {
    let (depth, stride) = (job.n as usize, job.k as usize);
    let mut sums = [[[0f32; TILE_COLUMNS]; LANES]; TILE_M];
    let mut weights = [0f32; TILE_COLUMNS];
    let weights = &mut weights[..columns.len()];
    let mut x = [0f32];
    for n in 0..depth {
        // SAFETY: `n` and the columns lie inside the weight, the rows inside the input.
        unsafe { decode(&job.weight, n * stride + columns.start, weights) };
        for (row, sums) in m.clone().zip(&mut sums) {
            // SAFETY: as above.
            unsafe { load_input(job, row, n, &mut x) };
            for (sum, w) in sums[n % LANES].iter_mut().zip(&*weights) {
                *sum += x[0] * w;
            }
        }
    }
    for (row, sums) in m.zip(&sums) {
        let mut values: [f32; TILE_COLUMNS] =
            std::array::from_fn(|c| reduce(std::array::from_fn(|lane| sums[lane][c])));
        // SAFETY: the caller's contract.
        unsafe { store_output(job, row, columns.start, &mut values[..columns.len()]) };
    }
}

/// Adds the products of two panels, the first of which starts at a multiple of [`LANES`].
fn dot(x: &[f32], w: &[f32], sums: &mut [f32; LANES]) {
    for (x, w) in x.chunks(LANES).zip(w.chunks(LANES)) {
        for ((x, w), sum) in x.iter().zip(w).zip(&mut *sums) {
            *sum += x * w;
        }
    }
}

/// The pairwise sum: lane `i` with lane `i + 8`, then 4, 2, 1.
fn reduce(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// # Safety
/// Elements `column..column + out.len()` of that row exist.
unsafe fn load_input(job: &GemmJob, row: usize, column: usize, out: &mut [f32]) {
    let element = row as isize * job.input_stride as isize + column as isize;
    // SAFETY: the caller's contract.
    unsafe { load(job.input.offset(element * job.input_type.size() as isize), job.input_type, out) };
}

/// Adds bias, then the former output, if asked, and rounds once.
///
/// # Safety
/// Elements `column..column + values.len()` of that row exist.
unsafe fn store_output(job: &GemmJob, row: usize, column: usize, values: &mut [f32]) {
    let mut other = [0f32; TILE_COLUMNS];
    let other = &mut other[..values.len()];
    let element = row as isize * job.output_stride as isize + column as isize;
    // SAFETY: the caller's contract.
    unsafe {
        let target = job.output.offset(element * job.output_type.size() as isize);
        if !job.bias.is_null() {
            load(job.bias.add(column * job.bias_type.size()), job.bias_type, other);
            values.iter_mut().zip(&*other).for_each(|(v, b)| *v += b);
        }
        if job.accumulate {
            load(target, job.output_type, other);
            values.iter_mut().zip(&*other).for_each(|(v, o)| *v += o);
        }
        store(values, target, job.output_type);
    }
}

//! 16-bit input rows: weights are decoded to panels of `bf16` tiles, and every panel is multiplied
//! with all input rows, which were packed as tiles before.
//!
//! `bf16` input meets weights rounded to `bf16`, as dequantizing and multiplying would. `f16` input
//! has more bits than one `bf16`: it is split into two, exactly, and so are the weights, to 16 bits;
//! the product of the two smaller parts is left out.

use super::super::runner::Runner;
use super::kernels::*;
use super::row::{depth_and_width, output_at};
use super::workspace::Workspace;
use crate::backend::GemmJob;
use crate::dtype::FloatType;
use crate::error::Result;

/// Terms that are decoded and multiplied together.
const DEPTH: usize = TILE_STEPS * TILE_DEPTH;
/// Output columns of a panel.
const PANEL_COLUMNS: usize = PANEL_TILES * TILE_WIDTH;
/// Largest number of panels that share the input in the cache.
const PANELS: usize = 8;
/// Largest number of input rows at a time: bounds the sums in the cache.
pub(super) const MAX_INPUTS: usize = 512;

/// Whether products with that input may be computed by tiles.
pub(super) fn takes(job: &GemmJob) -> bool {
    !job.exact && job.input_type != FloatType::F32
}

fn terms(job: &GemmJob) -> usize {
    if job.input_type == FloatType::F16 { 2 } else { 1 }
}

fn order(job: &GemmJob) -> TileOrder {
    let (k, block_size) = (job.k as usize, job.weight.block_size.get());
    match (k % 64, k % 32) {
        (0, _) if block_size >= 64 => TileOrder::By64,
        (_, 0) => TileOrder::By32,
        _ => TileOrder::Natural,
    }
}

fn input_tiles(job: &GemmJob) -> usize {
    (job.m as usize).div_ceil(TILE_WIDTH)
}

/// Bytes of the packed input.
pub(super) fn input_bytes(job: &GemmJob) -> Option<usize> {
    pack_tasks(job).checked_mul(terms(job) * STRIP_BYTES)
}

/// How many calls of [`pack`] prepare the input.
pub(super) fn pack_tasks(job: &GemmJob) -> usize {
    depth_and_width(job).0.div_ceil(DEPTH) * input_tiles(job)
}

/// Packs a strip of the input.
///
/// # Safety
/// The job's pointers are as its fields say; `packed` has [`input_bytes`] bytes.
pub(super) unsafe fn pack(job: &GemmJob, kernels: &TileKernels, packed: *mut u8, task: usize) {
    let (chunk, tile) = (task / input_tiles(job), task % input_tiles(job));
    let (row, start) = (tile * TILE_WIDTH, chunk * DEPTH);
    let strip = StripPack {
        job,
        row,
        rows: TILE_WIDTH.min(job.m as usize - row),
        start,
        count: DEPTH.min(depth_and_width(job).0 - start),
        order: order(job),
        terms: terms(job),
        out: packed.wrapping_add(task * terms(job) * STRIP_BYTES),
    };
    // SAFETY: the rows and terms exist.
    unsafe { (kernels.pack)(&strip) };
}

/// Output columns per task.
pub(super) fn task_columns(job: &GemmJob, runner: &Runner) -> usize {
    let panels = depth_and_width(job).1 / (PANEL_COLUMNS * runner.threads() * 4);
    PANEL_COLUMNS * panels.clamp(1, PANELS)
}

/// Computes output columns `first..first + count`.
///
/// # Safety
/// The job's pointers are as its fields say; the columns exist; `packed` was filled by [`pack`].
pub(super) unsafe fn columns(
    job: &GemmJob,
    kernels: &Kernels,
    tiles: &TileKernels,
    packed: *const u8,
    workspace: &Workspace,
    first: usize,
    count: usize,
) -> Result<()> {
    let panels = count.div_ceil(PANEL_COLUMNS);
    let weights_bytes = PANEL_TILES * terms(job) * STRIP_BYTES;
    let panel_sums = input_tiles(job) * PANEL_TILES * TILE_WIDTH * TILE_WIDTH;
    let lease = workspace.take(weights_bytes + panels * panel_sums * size_of::<f32>())?;
    let sums = lease.pointer().wrapping_add(weights_bytes).cast::<f32>();
    let task = Task { job, tiles, packed, weights: lease.pointer() };
    // SAFETY: the columns exist; the scratch holds a panel and the sums of all.
    unsafe {
        (tiles.begin)();
        for start in (0..depth_and_width(job).0).step_by(DEPTH) {
            for panel in 0..panels {
                let column = panel * PANEL_COLUMNS;
                let columns = PANEL_COLUMNS.min(count - column);
                task.panel(start, first + column, columns, sums.add(panel * panel_sums));
            }
        }
        (tiles.end)();
        for panel in 0..panels {
            let column = panel * PANEL_COLUMNS;
            let columns = PANEL_COLUMNS.min(count - column);
            task.finish(kernels, first + column, columns, sums.add(panel * panel_sums));
        }
    }
    Ok(())
}

struct Task<'a> {
    job: &'a GemmJob,
    tiles: &'a TileKernels,
    packed: *const u8,
    weights: *mut u8,
}

impl Task<'_> {
    /// Decodes a panel and multiplies the input with it.
    ///
    /// # Safety
    /// Columns and terms exist; the thread was prepared; `sums` holds the panel's sums.
    unsafe fn panel(&self, start: usize, column: usize, columns: usize, sums: *mut f32) {
        let (job, terms) = (self.job, terms(self.job));
        let count = DEPTH.min(depth_and_width(job).0 - start);
        let decode =
            PanelDecode { job, column, columns, start, count, order: order(job), terms, out: self.weights };
        let input_tiles = input_tiles(job);
        let product = PanelProduct {
            weights: self.weights,
            inputs: self.packed.wrapping_add(start / DEPTH * input_tiles * terms * STRIP_BYTES),
            input_tiles,
            terms,
            // Decoding spreads 64 elements over two tiles.
            steps: count.div_ceil(2 * TILE_DEPTH) * 2,
            sums,
            add: start > 0,
            transpose: job.transpose,
        };
        // SAFETY: passed on.
        unsafe {
            (self.tiles.decode)(&decode);
            (self.tiles.multiply)(&product);
        }
    }

    /// Writes the sums of a panel to the output.
    ///
    /// # Safety
    /// The columns exist; `sums` holds the panel's sums.
    unsafe fn finish(&self, kernels: &Kernels, column: usize, columns: usize, sums: *mut f32) {
        let mut rows = [[0f32; PANEL_COLUMNS]; TILE_WIDTH];
        for tile in 0..input_tiles(self.job) {
            let collect = Collect {
                sums: sums.wrapping_add(tile * PANEL_TILES * TILE_WIDTH * TILE_WIDTH),
                order: order(self.job),
                transpose: self.job.transpose,
                out: rows.as_mut_ptr().cast(),
            };
            // SAFETY: as above.
            unsafe { (self.tiles.collect)(&collect) };
            let row = tile * TILE_WIDTH;
            for (i, sums) in rows.iter().enumerate().take(self.job.m as usize - row) {
                // SAFETY: the row and the columns exist.
                unsafe { (kernels.finish)(&output_at(self.job, row + i, column), sums.as_ptr(), columns) };
            }
        }
    }
}

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
pub(super) const DEPTH: usize = TILE_STEPS * TILE_DEPTH;
/// Output columns of a panel.
pub(super) const PANEL_COLUMNS: usize = PANEL_TILES * TILE_WIDTH;
/// Largest number of panels that share the input in the cache.
const PANELS: usize = 8;
/// Largest number of input rows at a time: bounds the sums in the cache.
pub(super) const MAX_INPUTS: usize = 512;

/// Whether products with `rows` input rows are computed by tiles. A single row is multiplied exactly,
/// and so are few rows, which is faster; rows of `f16`, whose two terms take longer, are more.
pub(super) fn takes(job: &GemmJob, rows: usize) -> bool {
    let least = match (job.input_type, job.transpose) {
        (FloatType::F32, _) => return false,
        (FloatType::F16, _) => 12,
        (FloatType::Bf16, true) => 2,
        (FloatType::Bf16, false) => DOT_INPUTS + 1,
    };
    rows >= least && !job.exact
}

pub(super) fn terms(job: &GemmJob) -> usize {
    if job.input_type == FloatType::F16 { 2 } else { 1 }
}

pub(super) fn order(job: &GemmJob) -> TileOrder {
    let (k, block_size) = (job.k as usize, job.weight.block_size.get());
    match (k % 64, k % 32) {
        (0, _) if block_size >= 64 => TileOrder::By64,
        (_, 0) => TileOrder::By32,
        _ => TileOrder::Natural,
    }
}

pub(super) fn input_tiles(job: &GemmJob) -> usize {
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

/// Output columns per task, forward.
pub(super) fn task_columns(job: &GemmJob, runner: &Runner) -> usize {
    let panels = depth_and_width(job).1 / (PANEL_COLUMNS * runner.threads() * 4);
    PANEL_COLUMNS * panels.clamp(1, PANELS)
}

/// Most input tiles whose sums stay in registers: two with half a panel.
const RESIDENT_TILES: usize = 2;

/// Terms decoded at a time if the sums stay in registers: so few that decoding the next ones
/// overlaps multiplying these.
const RESIDENT_DEPTH: usize = 128;
/// How many elements ahead of its use a weight row is fetched.
const AHEAD: usize = 1024;

/// Computes output columns `first..first + count`, forward.
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
    let resident = input_tiles(job) <= RESIDENT_TILES;
    let panels = count.div_ceil(PANEL_COLUMNS);
    let weights_bytes = PANEL_TILES * terms(job) * STRIP_BYTES;
    let panel_sums = input_tiles(job) * PANEL_TILES * TILE_WIDTH * TILE_WIDTH;
    let lease = workspace.take(weights_bytes + panels * panel_sums * size_of::<f32>())?;
    let sums = lease.pointer().wrapping_add(weights_bytes).cast::<f32>();
    let task = Task { job, tiles, packed, weights: lease.pointer() };
    let panel = |i: usize| {
        let column = i * PANEL_COLUMNS;
        Panel {
            column: first + column,
            columns: PANEL_COLUMNS.min(count - column),
            sums: sums.wrapping_add(i * panel_sums),
        }
    };
    // SAFETY: the columns exist; the scratch holds a panel and the sums of all.
    unsafe {
        (tiles.begin)();
        if resident {
            (0..panels).for_each(|i| task.resident(&panel(i)));
        } else {
            for start in (0..depth_and_width(job).0).step_by(DEPTH) {
                (0..panels).for_each(|i| task.chunk(start, &panel(i)));
            }
        }
        (tiles.end)();
        (0..panels).for_each(|i| task.finish(kernels, &panel(i)));
    }
    Ok(())
}

/// Output columns that are computed together.
struct Panel {
    column: usize,
    columns: usize,
    sums: *mut f32,
}

struct Task<'a> {
    job: &'a GemmJob,
    tiles: &'a TileKernels,
    packed: *const u8,
    weights: *mut u8,
}

impl Task<'_> {
    /// Decodes up to [`DEPTH`] terms of a panel and multiplies all input rows with them.
    ///
    /// # Safety
    /// Columns and terms exist; the thread was prepared; the panel's sums can be written.
    unsafe fn chunk(&self, start: usize, panel: &Panel) {
        let count = DEPTH.min(depth_and_width(self.job).0 - start);
        let before = if start == 0 { Sums::Zero } else { Sums::Memory };
        // SAFETY: passed on.
        unsafe {
            (self.tiles.decode)(&self.decode(panel, start, count, 0));
            (self.tiles.multiply)(&PanelProduct { before, ..self.product(panel, start, count, 0) });
        }
    }

    /// Computes all terms of a panel, with the sums in registers.
    ///
    /// # Safety
    /// As [`chunk`](Self::chunk); there are at most [`RESIDENT_TILES`] input tiles.
    unsafe fn resident(&self, panel: &Panel) {
        let depth = depth_and_width(self.job).0;
        let tiles = if input_tiles(self.job) == 1 { PANEL_TILES } else { 2 };
        for tile in (0..panel.columns.div_ceil(TILE_WIDTH)).step_by(tiles) {
            let column = tile * TILE_WIDTH;
            let part = Panel {
                column: panel.column + column,
                columns: (tiles * TILE_WIDTH).min(panel.columns - column),
                sums: panel.sums.wrapping_add(tile * TILE_WIDTH * TILE_WIDTH),
            };
            let step = |start: usize| (start, RESIDENT_DEPTH.min(depth - start), start / RESIDENT_DEPTH % 2);
            let decode = |start: usize| {
                let (start, count, half) = step(start);
                // SAFETY: the terms exist.
                unsafe {
                    (self.tiles.decode)(&self.decode(&part, start, count, half * RESIDENT_DEPTH / TILE_DEPTH))
                };
            };
            decode(0);
            for start in (0..depth).step_by(RESIDENT_DEPTH) {
                let next = start + RESIDENT_DEPTH;
                if next < depth {
                    decode(next);
                }
                let (_, count, half) = step(start);
                let product = PanelProduct {
                    weight_tiles: tiles,
                    before: if start == 0 { Sums::Zero } else { Sums::Registers },
                    after: if next < depth { Sums::Registers } else { Sums::Memory },
                    ..self.product(&part, start, count, half * RESIDENT_DEPTH / TILE_DEPTH)
                };
                // SAFETY: the terms exist and were decoded; the sums are in registers.
                unsafe { (self.tiles.multiply)(&product) };
            }
        }
    }

    /// Terms of a panel to be decoded into its tiles from `step` on.
    fn decode(&self, panel: &Panel, start: usize, count: usize, step: usize) -> PanelDecode<'_> {
        PanelDecode {
            job: self.job,
            column: panel.column,
            columns: panel.columns,
            start,
            count,
            order: order(self.job),
            terms: terms(self.job),
            out: self.weights.wrapping_add(step * TILE_BYTES),
            ahead: self.ahead(panel, start),
        }
    }

    /// How far ahead to fetch: in the same rows, or from the start of those of the next panel.
    fn ahead(&self, panel: &Panel, start: usize) -> usize {
        let k = self.job.k as usize;
        if start + AHEAD < k { AHEAD } else { AHEAD.min(k) + (panel.columns - 1) * k }
    }

    /// The product with terms that were decoded into tiles from `step` on.
    fn product(&self, panel: &Panel, start: usize, count: usize, step: usize) -> PanelProduct {
        let (input_tiles, terms) = (input_tiles(self.job), terms(self.job));
        let chunk = start / DEPTH * input_tiles * terms * STRIP_BYTES;
        PanelProduct {
            weights: self.weights.wrapping_add(step * TILE_BYTES),
            weight_tiles: PANEL_TILES,
            inputs: self.packed.wrapping_add(chunk + start % DEPTH / TILE_DEPTH * TILE_BYTES),
            input_tiles,
            terms,
            // Decoding spreads 64 elements over two tiles.
            steps: count.div_ceil(2 * TILE_DEPTH) * 2,
            sums: panel.sums,
            before: Sums::Memory,
            after: Sums::Memory,
            transpose: false,
        }
    }

    /// Writes the sums of a panel to the output.
    ///
    /// # Safety
    /// The columns exist; the panel's sums were computed.
    unsafe fn finish(&self, kernels: &Kernels, panel: &Panel) {
        let mut rows = [[0f32; PANEL_COLUMNS]; TILE_WIDTH];
        for tile in 0..input_tiles(self.job) {
            let collect = Collect {
                sums: panel.sums.wrapping_add(tile * PANEL_TILES * TILE_WIDTH * TILE_WIDTH),
                order: order(self.job),
                transpose: false,
                out: rows.as_mut_ptr().cast(),
            };
            // SAFETY: as above.
            unsafe { (self.tiles.collect)(&collect) };
            let row = tile * TILE_WIDTH;
            for (i, sums) in rows.iter().enumerate().take(self.job.m as usize - row) {
                let output = output_at(self.job, row + i, panel.column);
                // SAFETY: the row and the columns exist.
                unsafe { (kernels.finish)(&output, sums.as_ptr(), panel.columns) };
            }
        }
    }
}

//! 16-bit input rows, transposed: pairs of weight rows are decoded to panels of `bf16` tiles, 64
//! columns by [`DEPTH`] rows, and every panel is multiplied with all input rows, packed as for
//! `tiles.rs`.
//!
//! Panels are taken along the weight's rows, whose codes are fetched in the order in which they lie
//! in memory while the [`DEPTH`] rows before are multiplied. As in `axpy.rs`, weight rows are cut
//! into chunks that follow from the shape alone.

use super::super::runner::Runner;
use super::kernels::*;
use super::row::output_at;
use super::tiles::{DEPTH, PANEL_COLUMNS, input_tiles, order, terms};
use super::workspace::Workspace;
use crate::backend::GemmJob;
use crate::error::Result;

/// Elements of a tile of sums.
const TILE: usize = TILE_WIDTH * TILE_WIDTH;
/// Weight rows of a chunk, at least, for each 16 input rows: bounds the share of adding the chunks'
/// sums.
const CHUNK_ROWS: usize = 2048;
/// Bytes of a task's sums, and of the codes of two blocks of weight rows, about: they share the
/// second-level cache.
const TASK_BYTES: usize = 5 << 18;

/// `f32` elements of the sums of a panel.
fn panel_sums(job: &GemmJob) -> usize {
    input_tiles(job) * PANEL_TILES * TILE
}

/// Bytes of the sums of all chunks.
pub(super) fn sums_bytes(job: &GemmJob) -> Option<usize> {
    let panels = (job.k as usize).div_ceil(PANEL_COLUMNS);
    panels.checked_mul(panel_sums(job) * size_of::<f32>())?.checked_mul(chunks(job))
}

fn chunk_rows(job: &GemmJob) -> usize {
    let n = job.n as usize;
    n.div_ceil((n / (CHUNK_ROWS * input_tiles(job))).max(1)).next_multiple_of(DEPTH)
}

/// Chunks of weight rows whose sums are added at the end.
pub(super) fn chunks(job: &GemmJob) -> usize {
    (job.n as usize).div_ceil(chunk_rows(job))
}

/// Output columns per task: a multiple of two panels, whose codes share cache lines.
pub(super) fn task_columns(job: &GemmJob, runner: &Runner) -> usize {
    let pairs = (job.k as usize).div_ceil(2 * PANEL_COLUMNS).max(1);
    let most = TASK_BYTES / (DEPTH + 4 * TILE_WIDTH * input_tiles(job)) / (2 * PANEL_COLUMNS);
    let runs = (4 * runner.threads()).div_ceil(chunks(job)).max(pairs.div_ceil(most.max(1)));
    pairs.div_ceil(runs) * 2 * PANEL_COLUMNS
}

/// A product whose input was packed.
pub(super) struct Product<'a> {
    pub(super) job: &'a GemmJob,
    pub(super) kernels: &'a Kernels,
    pub(super) tiles: &'a TileKernels,
    /// `[DEPTH terms][input tile][term]` strips.
    pub(super) packed: *const u8,
    /// `[chunk][panel][input tile][PANEL_TILES]` tiles.
    pub(super) sums: *mut f32,
}

impl Product<'_> {
    /// A chunk's sums of the panel that begins with `column`.
    fn sums(&self, chunk: usize, column: usize) -> *mut f32 {
        let panels = (self.job.k as usize).div_ceil(PANEL_COLUMNS);
        self.sums.wrapping_add((chunk * panels + column / PANEL_COLUMNS) * panel_sums(self.job))
    }

    /// Sums a chunk's weight rows in the columns `first..first + count`.
    ///
    /// # Safety
    /// The pointers are as the fields say; the columns exist, `first` begins a panel; no other task
    /// has them in this chunk.
    pub(super) unsafe fn columns(
        &self,
        workspace: &Workspace,
        chunk: usize,
        first: usize,
        count: usize,
    ) -> Result<()> {
        let lease = workspace.take(PANEL_TILES * terms(self.job) * STRIP_BYTES)?;
        let start = chunk * chunk_rows(self.job);
        let end = (start + chunk_rows(self.job)).min(self.job.n as usize);
        // SAFETY: rows and columns exist; the scratch holds a panel.
        unsafe {
            (self.tiles.begin)();
            for row in (start..end).step_by(DEPTH) {
                let rows = row..end.min(row + DEPTH);
                let before = if row == start { Sums::Zero } else { Sums::Memory };
                self.block(rows, first..first + count, chunk, before, lease.pointer());
            }
            (self.tiles.end)();
        }
        Ok(())
    }

    /// Adds up to [`DEPTH`] weight rows to a chunk's sums.
    ///
    /// # Safety
    /// As [`columns`](Self::columns); the rows exist; `weights` has room for a panel.
    unsafe fn block(
        &self,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        chunk: usize,
        before: Sums,
        weights: *mut u8,
    ) {
        let (job, terms, input_tiles) = (self.job, terms(self.job), input_tiles(self.job));
        let inputs = self.packed.wrapping_add(rows.start / DEPTH * input_tiles * terms * STRIP_BYTES);
        for (panel, column) in columns.clone().step_by(PANEL_COLUMNS).enumerate() {
            let decode = PairDecode {
                job,
                row: rows.start,
                rows: rows.len(),
                column,
                columns: PANEL_COLUMNS.min(columns.end - column),
                order: order(job),
                terms,
                out: weights,
                scales_ahead: DEPTH * job.k as usize,
                fetch: fetch(job, rows.start + DEPTH, &columns, panel),
            };
            let product = PanelProduct {
                weights,
                weight_tiles: PANEL_TILES,
                inputs,
                input_tiles,
                terms,
                // Decoding fills two tiles at a time.
                steps: rows.len().div_ceil(2 * TILE_DEPTH) * 2,
                sums: self.sums(chunk, column),
                before,
                after: Sums::Memory,
                transpose: true,
            };
            // SAFETY: passed on.
            unsafe {
                (self.tiles.decode_pairs)(&decode);
                (self.tiles.multiply)(&product);
            }
        }
    }

    /// Adds up the chunks' sums of the columns `first..first + count` and writes the output.
    ///
    /// # Safety
    /// All chunks' sums of these columns were computed, and no other task has them.
    pub(super) unsafe fn finish(&self, first: usize, count: usize) {
        let mut rows = [[0f32; PANEL_COLUMNS]; TILE_WIDTH];
        for column in (first..first + count).step_by(PANEL_COLUMNS) {
            let run = |chunk: usize| {
                // SAFETY: only this task uses this panel.
                unsafe { std::slice::from_raw_parts_mut(self.sums(chunk, column), panel_sums(self.job)) }
            };
            let total = run(0);
            for chunk in 1..chunks(self.job) {
                total.iter_mut().zip(run(chunk)).for_each(|(total, sum)| *total += *sum);
            }
            for (tile, sums) in total.chunks_exact(PANEL_TILES * TILE).enumerate() {
                let (sums, out) = (sums.as_ptr(), rows.as_mut_ptr().cast());
                let collect = Collect { sums, order: order(self.job), transpose: true, out };
                // SAFETY: as above.
                unsafe { (self.tiles.collect)(&collect) };
                let row = tile * TILE_WIDTH;
                for (i, sums) in rows.iter().enumerate().take(self.job.m as usize - row) {
                    let columns = PANEL_COLUMNS.min(first + count - column);
                    let output = output_at(self.job, row + i, column);
                    // SAFETY: the row and the columns exist.
                    unsafe { (self.kernels.finish)(&output, sums.as_ptr(), columns) };
                }
            }
        }
    }
}

/// What to fetch while panel number `panel` is decoded: its share of the codes of the columns in the
/// [`DEPTH`] weight rows from `row` on.
fn fetch(job: &GemmJob, row: usize, columns: &std::ops::Range<usize>, panel: usize) -> Fetch {
    const LINE: usize = 64;
    let row_bytes = job.k as usize / 2;
    let lines = (columns.len() / 2).div_ceil(LINE);
    // One line per pair of rows; a line holds the codes of two panels.
    let first = panel * (DEPTH / 2);
    let start = job.weight.codes.wrapping_add((row + first / lines) * row_bytes + columns.start / 2);
    Fetch {
        next: start.wrapping_add(first % lines * LINE),
        left: lines - first % lines,
        lines,
        skip: row_bytes.wrapping_sub(lines * LINE),
    }
}

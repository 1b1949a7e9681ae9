//! Few input rows on an arm with tiles: codebook values are multiplied unscaled, straight from a
//! table look-up, and the sums over each block are scaled in `f32`.
//!
//! Both factors are split into `bf16` terms: a codebook value into three, which is exact, an input
//! element into as many as it needs. What is left out is below 2⁻²⁵ of a product, so the result is
//! as good as one of `f32` products. `bf16` input may be multiplied with rounded values instead.

use super::super::runner::Runner;
use super::kernels::*;
use super::row::output_at;
use super::workspace::Workspace;
use crate::backend::{GemmJob, Scales};
use crate::dtype::FloatType;
use crate::error::Result;

/// Most input rows of a piece: two tiles of columns.
const MAX_INPUTS: usize = 2 * TILE_WIDTH;
/// Output columns whose sums are put into rows together.
const PANEL_COLUMNS: usize = PANEL_TILES * TILE_WIDTH;
/// Most output columns per task.
const TASK_COLUMNS: usize = 4 * PANEL_COLUMNS;
/// Bytes of codes per task, about.
const TASK_BYTES: usize = 1 << 19;
/// Elements per call of [`pack`].
const PACK_ELEMENTS: usize = 4 * WINDOW;
/// Magnitudes of codebook values, other than zero, whose terms' products stay in range.
const CODEBOOK_MAGNITUDES: std::ops::RangeInclusive<f32> = 1.0 / 1024.0..=1024.0;

/// Whether the rows from `first` on, `rows` of them, are computed here.
///
/// # Safety
/// The job's pointers are as its fields say.
pub(super) unsafe fn takes(job: &GemmJob, first: usize, rows: usize, kernels: &BlockSumKernels) -> bool {
    if job.transpose || !job.k.is_multiple_of(64) || job.weight.block_size.get() < 64 {
        return false;
    }
    let ordinary = |value: &f32| *value == 0.0 || CODEBOOK_MAGNITUDES.contains(&value.abs());
    pays(job, rows)
        && job.weight.codebook.iter().all(ordinary)
        // SAFETY: the rows exist.
        && (first..first + rows).all(|row| unsafe { (kernels.ordinary)(job, row) })
}

/// Whether this is the fastest way that is exact enough, as measured.
fn pays(job: &GemmJob, rows: usize) -> bool {
    match (job.input_type, job.exact) {
        (FloatType::Bf16, false) => (4..=TILE_WIDTH).contains(&rows),
        (FloatType::F16, false) => (5..=TILE_WIDTH).contains(&rows),
        _ => (5..=MAX_INPUTS).contains(&rows),
    }
}

/// How the input is split and laid out.
#[derive(Clone, Copy)]
struct Layout {
    terms: Terms,
    /// Terms of an input element.
    input_terms: usize,
    /// How many of them share a tile.
    per_tile: usize,
}

impl Layout {
    fn of(job: &GemmJob) -> Self {
        let input_terms = match job.input_type {
            FloatType::F32 => 3,
            FloatType::F16 => 2,
            FloatType::Bf16 => 1,
        };
        let per_tile = (TILE_WIDTH / job.m as usize).clamp(1, input_terms);
        let terms = match input_terms.div_ceil(per_tile) {
            1 if job.input_type == FloatType::Bf16 && !job.exact => Terms::Rounded,
            1 => Terms::OneTile,
            2 if per_tile == 2 => Terms::TwoThenOne,
            2 => Terms::TwoTiles,
            _ => Terms::ThreeTiles,
        };
        Layout { terms, input_terms, per_tile }
    }
}

fn column_tiles(job: &GemmJob) -> usize {
    (job.m as usize).div_ceil(TILE_WIDTH)
}

/// Bytes of the packed input per [`WINDOW`].
fn window_bytes(job: &GemmJob) -> usize {
    WINDOW / TILE_DEPTH * column_tiles(job) * Layout::of(job).terms.tiles() * TILE_BYTES
}

/// Bytes of the packed input.
pub(super) fn input_bytes(job: &GemmJob) -> Option<usize> {
    (job.k as usize).div_ceil(WINDOW).checked_mul(window_bytes(job))
}

/// How many calls of [`pack`] prepare the input.
pub(super) fn pack_tasks(job: &GemmJob) -> usize {
    (job.k as usize).div_ceil(PACK_ELEMENTS)
}

/// Packs a part of the input.
///
/// # Safety
/// The job's pointers are as its fields say; `packed` has [`input_bytes`] bytes.
pub(super) unsafe fn pack(job: &GemmJob, kernels: &BlockSumKernels, packed: *mut u8, task: usize) {
    let start = task * PACK_ELEMENTS;
    let layout = Layout::of(job);
    let pack = BlockSumPack {
        job,
        start,
        count: PACK_ELEMENTS.min(job.k as usize - start),
        terms: layout.input_terms,
        terms_per_tile: layout.per_tile,
        out: packed.wrapping_add(start / WINDOW * window_bytes(job)),
    };
    // SAFETY: the elements exist.
    unsafe { (kernels.pack)(&pack) };
}

/// Output columns per task.
pub(super) fn task_columns(job: &GemmJob, runner: &Runner) -> usize {
    let by_size = TASK_BYTES / (job.k as usize / 2);
    let by_threads = job.n as usize / (runner.threads() * 4);
    by_size.min(by_threads).next_multiple_of(PANEL_COLUMNS).clamp(PANEL_COLUMNS, TASK_COLUMNS)
}

/// Computes output columns `first..first + count`.
///
/// # Safety
/// The job's pointers are as its fields say; the columns exist and are at most [`TASK_COLUMNS`];
/// `packed` was filled by [`pack`].
pub(super) unsafe fn columns(
    job: &GemmJob,
    kernels: &Kernels,
    block_sums: &BlockSumKernels,
    packed: *const u8,
    workspace: &Workspace,
    first: usize,
    count: usize,
) -> Result<()> {
    let sums = TASK_COLUMNS * TILE_WIDTH;
    let sums_bytes = column_tiles(job) * sums * size_of::<f32>();
    let scales = RowScales::new(job, first, count);
    let lease = workspace.take(BLOCK_SUM_SCRATCH + sums_bytes + scales.room() * size_of::<f32>())?;
    let all_sums = lease.pointer().wrapping_add(BLOCK_SUM_SCRATCH).cast::<f32>();
    let room = all_sums.wrapping_add(column_tiles(job) * sums);
    // SAFETY: the columns exist; the lease has room for their scales.
    let (scales, stride, shift) = unsafe { scales.get(kernels, room) };
    let row_bytes = job.k as usize / 2;
    let group = |i: usize| {
        // Rows beyond the last one are the last one again; what they yield is not used.
        let row = |r: usize| (i * GROUP_ROWS + r).min(count - 1);
        RowGroup {
            codes: std::array::from_fn(|r| job.weight.codes.wrapping_add((first + row(r)) * row_bytes)),
            scales: std::array::from_fn(|r| scales.wrapping_add(row(r) * stride)),
            sums: all_sums.wrapping_add(i.min(TASK_COLUMNS / GROUP_ROWS - 1) * GROUP_ROWS * TILE_WIDTH),
        }
    };
    let groups: [RowGroup; TASK_COLUMNS / GROUP_ROWS] = std::array::from_fn(group);
    let run = BlockSumRun {
        groups: &groups[..count.div_ceil(GROUP_ROWS)],
        row_bytes,
        shift,
        elements: job.k as usize,
        codebook: job.weight.codebook,
        terms: Layout::of(job).terms,
        inputs: packed,
        column_tiles: column_tiles(job),
        sums_stride: sums,
        scratch: lease.pointer(),
    };
    // SAFETY: as above.
    unsafe {
        (block_sums.begin)();
        (block_sums.multiply)(&run);
        (block_sums.end)();
        for column in (0..count).step_by(PANEL_COLUMNS) {
            for tile in 0..column_tiles(job) {
                let sums = all_sums.wrapping_add(tile * sums + column * TILE_WIDTH);
                let columns = PANEL_COLUMNS.min(count - column);
                finish(job, kernels, block_sums, sums, tile * TILE_WIDTH, first + column, columns);
            }
        }
    }
    Ok(())
}

/// Writes sums of up to [`PANEL_COLUMNS`] columns and 16 input rows from `row` on to the output.
///
/// # Safety
/// The columns exist; the sums were computed, those of other columns in the panel have any values.
unsafe fn finish(
    job: &GemmJob,
    kernels: &Kernels,
    block_sums: &BlockSumKernels,
    sums: *const f32,
    row: usize,
    column: usize,
    columns: usize,
) {
    let mut rows = [[0f32; PANEL_COLUMNS]; TILE_WIDTH];
    let collect = Collect { sums, order: TileOrder::By64, transpose: false, out: rows.as_mut_ptr().cast() };
    // SAFETY: there is room for a whole number of panels.
    unsafe { (block_sums.collect)(&collect) };
    let count = TILE_WIDTH.min(job.m as usize - row);
    let terms = Layout::of(job).per_tile;
    for i in 0..count {
        let (total, terms_of_others) = rows[i..].split_at_mut(1);
        for term in (1..terms).rev() {
            let term = &terms_of_others[term * count - 1];
            total[0].iter_mut().zip(term).for_each(|(total, term)| *total += term);
        }
        // SAFETY: the row and the columns exist.
        unsafe { (kernels.finish)(&output_at(job, row + i, column), total[0].as_ptr(), columns) };
    }
}

/// The scales of a run of weight rows.
struct RowScales<'a> {
    job: &'a GemmJob,
    first: usize,
    rows: usize,
    /// Whether every row has the same number of blocks, of its own.
    whole_blocks: bool,
}

impl<'a> RowScales<'a> {
    fn new(job: &'a GemmJob, first: usize, rows: usize) -> Self {
        let whole_blocks = job.k.is_multiple_of(job.weight.block_size.get() as u64);
        RowScales { job, first, rows, whole_blocks }
    }

    /// How many `f32` [`get`](Self::get) needs.
    fn room(&self) -> usize {
        let k = self.job.k as usize;
        match (self.job.weight.scales, self.whole_blocks) {
            (Scales::Plain { .. }, true) => 0,
            (_, true) => self.rows * (k >> self.job.weight.block_size.shift()),
            _ => self.rows * (k / 64),
        }
    }

    /// The first row's scales, how many `f32` further the next row's are, and log2 of the elements
    /// per scale.
    ///
    /// # Safety
    /// The rows exist; `room` has [`room`](Self::room) elements.
    unsafe fn get(&self, kernels: &Kernels, room: *mut f32) -> (*const f32, usize, u32) {
        let (k, scales) = (self.job.k as usize, &self.job.weight.scales);
        let shift = self.job.weight.block_size.shift();
        if self.whole_blocks {
            let (first, stride) = ((self.first * k) >> shift, k >> shift);
            if let Scales::Plain { absmax } = scales {
                return (absmax.wrapping_add(first), stride, shift);
            }
            // SAFETY: the blocks exist.
            unsafe { (kernels.scales)(scales, first, self.rows * stride, room) };
            return (room, stride, shift);
        }
        for i in 0..self.rows * (k / 64) {
            // SAFETY: the elements exist. Rows begin at multiples of 64, so 64 share a block.
            unsafe { *room.add(i) = scales.get((self.first * k + i * 64) >> shift) };
        }
        (room, k / 64, 6)
    }
}

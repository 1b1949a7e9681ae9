//! Many input rows: weights are decoded to `f32` panels that fit a cache, and every panel is
//! multiplied with all input rows. Forward, a panel's columns are weight rows; transposed, they are
//! weight columns. Either way it holds `[depth][columns]`, so one tile kernel serves both.
//!
//! Every output element is the sum, in order, of its sums over [`DEPTH`] consecutive terms.

use super::super::runner::Runner;
use super::kernels::{ColumnRun, Kernels, RowRun, Tile};
use super::row::{depth_and_width, input_at, output_at};
use super::workspace::Workspace;
use crate::backend::GemmJob;
use crate::dtype::FloatType;
use crate::error::Result;

/// Terms per panel: what is summed in registers. A multiple of 128.
const DEPTH: usize = 128;
/// Largest number of panels that share the input rows in the cache.
const PANELS: usize = 4;
/// Largest number of input rows at a time: bounds the sums in the cache.
pub(super) const MAX_INPUTS: usize = 512;

/// Bytes of the widened input; `f32` input is read in place.
pub(super) fn input_bytes(job: &GemmJob) -> Option<usize> {
    match job.input_type {
        FloatType::F32 => Some(0),
        _ => (job.m as usize).checked_mul(depth_and_width(job).0)?.checked_mul(size_of::<f32>()),
    }
}

/// How many calls of [`pack`] prepare the input.
pub(super) fn pack_tasks(job: &GemmJob) -> usize {
    if job.input_type == FloatType::F32 { 0 } else { job.m as usize }
}

/// Widens one input row.
///
/// # Safety
/// The job's pointers are as its fields say; `widened` has [`input_bytes`] bytes.
pub(super) unsafe fn pack(job: &GemmJob, kernels: &Kernels, widened: *mut f32, row: usize) {
    let depth = depth_and_width(job).0;
    // SAFETY: the caller's contract.
    unsafe { (kernels.widen)(input_at(job, row, 0), job.input_type, depth, widened.add(row * depth)) };
}

/// Output columns per task.
pub(super) fn task_columns(job: &GemmJob, kernels: &Kernels, runner: &Runner) -> usize {
    let panels = depth_and_width(job).1 / (kernels.panel.columns * runner.threads() * 4);
    kernels.panel.columns * panels.clamp(1, PANELS)
}

/// Computes output columns `first..first + count`.
///
/// # Safety
/// The job's pointers are as its fields say; the columns exist; `widened` was filled by [`pack`].
pub(super) unsafe fn columns(
    job: &GemmJob,
    kernels: &Kernels,
    widened: *const f32,
    workspace: &Workspace,
    first: usize,
    count: usize,
) -> Result<()> {
    let width = kernels.panel.columns;
    let (depth, m) = (depth_and_width(job).0, job.m as usize);
    let sums_of = |panel: usize| DEPTH * (width + LOOSE_ROWS) + panel * m * width;
    let lease = workspace.take(sums_of(count.div_ceil(width)) * size_of::<f32>())?;
    let scratch = lease.pointer().cast::<f32>();
    let input = Input::of(job, widened);
    for start in (0..depth).step_by(DEPTH) {
        let terms = DEPTH.min(depth - start);
        for (panel, offset) in (0..count).step_by(width).enumerate() {
            let columns = width.min(count - offset);
            // SAFETY: terms and columns exist; the scratch holds the panel and the sums.
            unsafe {
                decode(job, kernels, start..start + terms, first + offset, columns, scratch);
                let sums = scratch.add(sums_of(panel));
                multiply(kernels, &input, m, start, terms, columns, scratch, sums);
            }
        }
    }
    for (panel, offset) in (0..count).step_by(width).enumerate() {
        let columns = width.min(count - offset);
        if depth == 0 {
            // SAFETY: the scratch holds the sums.
            unsafe { scratch.add(sums_of(panel)).write_bytes(0, m * width) };
        }
        for row in 0..m {
            let sums = scratch.wrapping_add(sums_of(panel) + row * width);
            // SAFETY: the output's columns exist; the sums were computed above.
            unsafe { (kernels.finish)(&output_at(job, row, first + offset), sums, columns) };
        }
    }
    Ok(())
}

/// Input rows as the tile kernel reads them.
struct Input {
    start: *const f32,
    stride: isize,
}

impl Input {
    fn of(job: &GemmJob, widened: *const f32) -> Self {
        match job.input_type {
            FloatType::F32 => Input { start: job.input.cast(), stride: job.input_stride as isize },
            _ => Input { start: widened, stride: depth_and_width(job).0 as isize },
        }
    }
}

/// Multiplies all input rows with a panel.
///
/// # Safety
/// The input has terms `start..start + terms`; the panel that many rows; `sums` holds `m` rows.
#[allow(clippy::too_many_arguments)]
unsafe fn multiply(
    kernels: &Kernels,
    input: &Input,
    m: usize,
    start: usize,
    terms: usize,
    columns: usize,
    panel: *const f32,
    sums: *mut f32,
) {
    let width = kernels.panel.columns;
    let groups = m.div_ceil(kernels.panel.rows);
    for group in 0..groups {
        // Groups of nearly equal size keep all of them efficient.
        let rows = m * group / groups..m * (group + 1) / groups;
        let tile = Tile {
            rows: rows.len(),
            vectors: columns.div_ceil(kernels.panel.lanes),
            depth: terms,
            a: input.start.wrapping_offset(rows.start as isize * input.stride + start as isize),
            a_stride: input.stride,
            b: panel,
            b_stride: width,
            c: sums.wrapping_add(rows.start * width),
            c_stride: width,
            add: start > 0,
        };
        // SAFETY: the caller's contract.
        unsafe { (kernels.panel.tile)(&tile) };
    }
}

/// Weight rows decoded at a time where columns must be put together element by element.
const LOOSE_ROWS: usize = 16;

/// Decodes `terms` by `columns` weights from column `first` of the product to the panel.
///
/// # Safety
/// Terms and columns exist; behind the panel there is room for [`LOOSE_ROWS`] rows of [`DEPTH`].
unsafe fn decode(
    job: &GemmJob,
    kernels: &Kernels,
    terms: std::ops::Range<usize>,
    first: usize,
    columns: usize,
    panel: *mut f32,
) {
    let (stride, lanes, k) = (kernels.panel.columns, kernels.panel.lanes, job.k as usize);
    let (weight, count) = (&job.weight, terms.len());
    if job.transpose {
        let first = terms.start * k + first;
        let run = RowRun { weight, first, count: columns, rows: count, row_length: k, out: panel, stride };
        // SAFETY: the elements exist.
        unsafe { (kernels.panel.decode_rows)(&run) };
    } else if k.is_multiple_of(32) {
        for column in (0..columns).step_by(lanes) {
            let run = ColumnRun {
                weight,
                row: first + column,
                rows: lanes.min(columns - column),
                row_length: k,
                start: terms.start,
                count,
                panel: panel.wrapping_add(column),
                stride,
            };
            // SAFETY: the elements exist.
            unsafe { (kernels.panel.decode_columns)(&run) };
        }
    } else {
        let loose = panel.wrapping_add(DEPTH * stride);
        for column in (0..columns).step_by(LOOSE_ROWS) {
            let rows = LOOSE_ROWS.min(columns - column);
            let first = (first + column) * k + terms.start;
            let run = RowRun { weight, first, count, rows, row_length: k, out: loose, stride: DEPTH };
            // SAFETY: the elements exist; the loose rows have room for `DEPTH` of them each.
            unsafe {
                (kernels.panel.decode_rows)(&run);
                for i in 0..count {
                    for row in 0..rows {
                        *panel.add(i * stride + column + row) = *loose.add(row * DEPTH + i);
                    }
                }
            }
        }
    }
}

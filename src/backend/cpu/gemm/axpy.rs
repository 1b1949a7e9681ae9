//! Few input rows, transposed: every weight row is decoded once, scaled by the input's elements and
//! added to the output rows. The products of absmax and input elements, the *factors*, are computed
//! first, so that weights need not be scaled.
//!
//! The [`BLOCK_ROWS`] weight rows that are added together are far apart: the rows that follow one
//! another in memory then make separate sequential streams, which the prefetchers follow. Weight
//! rows are cut into chunks whose sums are added at the end: chunks follow from the shape alone, and
//! how the columns of a chunk are divided among tasks changes no sum.

use super::super::runner::Runner;
use super::kernels::{AxpyRun, FactorRun, Kernels};
use super::row::{input_at, output_at};
use super::workspace::Workspace;
use crate::backend::{GemmJob, Scales};
use crate::dtype::FloatType;
use crate::error::Result;

/// Weight rows that are summed in registers.
const BLOCK_ROWS: usize = 16;
/// Columns that a kernel computes together.
const STRIPE: usize = 64;
/// Columns with a scale of their own, at least.
const GROUP: usize = 32;
/// Weight rows of a chunk, at least, for each four input rows: bounds the share of adding the chunks'
/// sums. Fewer where there would be less than [`CHUNKS`] chunks, but no less than [`MIN_ROWS`].
const CHUNK_ROWS: usize = 1024;
const MIN_ROWS: usize = 256;
const CHUNKS: usize = 8;
/// Most columns per task: their sums and factors fit in the second-level cache.
const TASK_COLUMNS: usize = 8192;
/// Least columns per task, where there are as many.
const MIN_COLUMNS: usize = 256;
/// How many bytes of a stream lie between fetching and use, at least.
const AHEAD: usize = 2048;

/// Up to so many input rows this is faster than tiles, whatever the input's type.
pub(super) const ALWAYS_INPUTS: usize = 4;

/// Whether transposed products with `rows` input rows are computed so: not if weight rows begin
/// inside groups of elements that are decoded together.
pub(super) fn takes(job: &GemmJob, rows: usize, kernels: &Kernels) -> bool {
    job.transpose
        && kernels.axpy.as_ref().is_some_and(|axpy| rows <= axpy.inputs)
        && (job.k as usize).is_multiple_of(GROUP)
}

/// Bytes of the sums of all chunks.
pub(super) fn sums_bytes(job: &GemmJob) -> Option<usize> {
    let row = (job.k as usize).checked_next_multiple_of(STRIPE)?.checked_mul(size_of::<f32>())?;
    row.checked_mul(job.m as usize)?.checked_mul(chunks(job))
}

/// Chunks of weight rows whose sums are added at the end.
pub(super) fn chunks(job: &GemmJob) -> usize {
    (job.n as usize).div_ceil(chunk_rows(job))
}

fn chunk_rows(job: &GemmJob) -> usize {
    let (n, unit) = (job.n as usize, (job.m as usize).div_ceil(4));
    let chunks = (n / (CHUNK_ROWS * unit)).max(CHUNKS.min(n / (MIN_ROWS * unit))).max(1);
    n.div_ceil(chunks).next_multiple_of(BLOCK_ROWS)
}

/// Output columns per task.
pub(super) fn task_columns(job: &GemmJob, runner: &Runner) -> usize {
    let wanted = (4 * runner.threads()).div_ceil(chunks(job));
    let k = (job.k as usize).max(1);
    let runs = k.div_ceil(k.div_ceil(wanted).clamp(MIN_COLUMNS, TASK_COLUMNS));
    k.div_ceil(runs).next_multiple_of(2 * STRIPE)
}

/// A product whose input was widened, as for panels.
pub(super) struct Product<'a> {
    pub(super) job: &'a GemmJob,
    pub(super) kernels: &'a Kernels,
    /// The widened input; `f32` input is read in place.
    pub(super) widened: *const f32,
    /// `[chunk][input row][column]`.
    pub(super) sums: *mut f32,
}

impl Product<'_> {
    /// Where a chunk's sums of a column begin, and elements from one input row's to the next.
    fn sums(&self, chunk: usize, column: usize) -> (*mut f32, usize) {
        let stride = (self.job.k as usize).next_multiple_of(STRIPE);
        (self.sums.wrapping_add(chunk * self.job.m as usize * stride + column), stride)
    }

    fn input(&self, row: usize) -> (*const f32, isize) {
        match self.job.input_type {
            FloatType::F32 => (input_at(self.job, 0, row).cast(), self.job.input_stride as isize),
            _ => (self.widened.wrapping_add(row), self.job.n as isize),
        }
    }

    /// Sums a chunk's weight rows in the columns `first..first + count`.
    ///
    /// # Safety
    /// The pointers are as the fields say; the columns exist, `first` is a multiple of [`STRIPE`];
    /// no other task has them in this chunk.
    pub(super) unsafe fn columns(
        &self,
        workspace: &Workspace,
        chunk: usize,
        first: usize,
        count: usize,
    ) -> Result<()> {
        let (job, m) = (self.job, self.job.m as usize);
        let layout = Layout::new(job, first, count);
        let scratch = BLOCK_ROWS * layout.count * (m + 1);
        let lease = workspace.take(scratch * size_of::<f32>())?;
        let start = chunk * chunk_rows(job);
        let rows = chunk_rows(job).min(job.n as usize - start);
        let apart = rows / BLOCK_ROWS;
        let rest = rows % BLOCK_ROWS;
        let blocks = (0..apart).map(|i| Rows { first: start + i, count: BLOCK_ROWS, step: apart });
        let last = Rows { first: start + apart * BLOCK_ROWS, count: rest, step: 1 };
        for (i, rows) in blocks.chain((rest > 0).then_some(last)).enumerate() {
            // SAFETY: rows and columns exist; the scratch holds the factors, and scales behind them.
            unsafe { self.block(&layout, chunk, &rows, count, i > 0, lease.pointer().cast()) };
        }
        Ok(())
    }

    /// Adds some weight rows to a chunk's sums.
    ///
    /// # Safety
    /// As [`columns`](Self::columns); the rows exist; `factors` has room for factors and scales.
    unsafe fn block(
        &self,
        layout: &Layout,
        chunk: usize,
        rows: &Rows,
        columns: usize,
        add: bool,
        factors: *mut f32,
    ) {
        let (job, m, k) = (self.job, self.job.m as usize, self.job.k as usize);
        let (sums, sum_stride) = self.sums(chunk, layout.first);
        // SAFETY: passed on.
        unsafe {
            let scales = factors.add(rows.count * layout.count * m);
            let (scales, scale_stride) = layout.scales(job, self.kernels, rows, scales);
            let (input, input_stride) = self.input(rows.first);
            let run = FactorRun {
                scales,
                scale_stride,
                count: layout.count,
                rows: rows.count,
                input,
                input_stride,
                input_step: rows.step,
                inputs: m,
                out: factors,
            };
            (self.kernels.axpy.as_ref().expect("taken only by arms that have them").factors)(&run);
        }
        let run = AxpyRun {
            codes: job.weight.codes.wrapping_add((rows.first * k + layout.first) / 2),
            row_bytes: rows.step * k / 2,
            rows: rows.count,
            columns,
            ahead: AHEAD.div_ceil(columns / 2) * k / 2,
            factors,
            input_factors: layout.count,
            row_factors: layout.count * m,
            shift: layout.shift,
            inside: layout.inside,
            sums,
            sum_stride,
            add,
            codebook: job.weight.codebook,
        };
        // SAFETY: as above.
        unsafe { self.multiply(&run, layout.halves) };
    }

    /// Multiplies all input rows, as many at a time as a kernel takes, in nearly equal parts.
    ///
    /// # Safety
    /// The run is as its fields say, for all input rows.
    unsafe fn multiply(&self, run: &AxpyRun, halves: bool) {
        let m = self.job.m as usize;
        let kernels = self.kernels.axpy.as_ref().expect("taken only by arms that have them").kernels
            [usize::from(halves)];
        let groups = m.div_ceil(kernels.len());
        for group in 0..groups {
            let (first, end) = (m * group / groups, m * (group + 1) / groups);
            let part = AxpyRun {
                factors: run.factors.wrapping_add(first * run.input_factors),
                sums: run.sums.wrapping_add(first * run.sum_stride),
                ..*run
            };
            // SAFETY: passed on.
            unsafe { kernels[end - first - 1](&part) };
        }
    }

    /// Adds up the chunks' sums of the columns `first..first + count` and writes the output.
    ///
    /// # Safety
    /// All chunks' sums of these columns were computed, and no other task has them.
    pub(super) unsafe fn finish(&self, first: usize, count: usize) {
        let padded = count.next_multiple_of(STRIPE);
        for row in 0..self.job.m as usize {
            let run = |chunk: usize| {
                let (sums, stride) = self.sums(chunk, first);
                // SAFETY: rows are padded to whole stripes; only this task uses these columns.
                unsafe { std::slice::from_raw_parts_mut(sums.add(row * stride), padded) }
            };
            let total = run(0);
            for chunk in 1..chunks(self.job) {
                total.iter_mut().zip(run(chunk)).for_each(|(total, sum)| *total += *sum);
            }
            // SAFETY: whole stripes; the output's columns exist.
            unsafe {
                (self.kernels.axpy.as_ref().expect("taken only by arms that have them").order)(
                    total.as_mut_ptr(),
                    padded / STRIPE,
                );
                (self.kernels.finish)(&output_at(self.job, row, first), total.as_ptr(), count);
            }
        }
    }
}

/// Weight rows `first + i * step`.
struct Rows {
    first: usize,
    count: usize,
    step: usize,
}

/// How the scales of a run of columns lie among its stripes.
struct Layout {
    /// The first column of the run.
    first: usize,
    /// Scales per weight row.
    count: usize,
    /// Scales are those of the weight's blocks, which all rows have in the same places; otherwise
    /// one per [`GROUP`] columns.
    blocks: bool,
    /// Two scales per stripe, one for each half.
    halves: bool,
    /// log2 of the stripes per scale.
    shift: u32,
    /// Stripes of the first block that lie before the run.
    inside: usize,
}

impl Layout {
    fn new(job: &GemmJob, first: usize, columns: usize) -> Self {
        let (size, shift) = (job.weight.block_size.get(), job.weight.block_size.shift());
        let whole = (job.k as usize).is_multiple_of(size);
        if !whole || size < STRIPE {
            let count = columns.div_ceil(STRIPE) * (STRIPE / GROUP);
            return Layout { first, count, blocks: whole, halves: true, shift: 0, inside: 0 };
        }
        let count = ((first + columns - 1) >> shift) - (first >> shift) + 1;
        let inside = first % size / STRIPE;
        Layout { first, count, blocks: true, halves: false, shift: shift - STRIPE.ilog2(), inside }
    }

    /// The scales of the run in each of several weight rows, and elements from one row's to the next:
    /// in place, or in `out`, which has room for them.
    ///
    /// # Safety
    /// Rows and columns exist.
    unsafe fn scales(
        &self,
        job: &GemmJob,
        kernels: &Kernels,
        rows: &Rows,
        out: *mut f32,
    ) -> (*const f32, usize) {
        let (scales, shift) = (&job.weight.scales, job.weight.block_size.shift());
        let k = job.k as usize;
        let (element, step) = (rows.first * k + self.first, rows.step * k);
        if let (Scales::Plain { absmax }, true, false) = (scales, self.blocks, self.halves) {
            return (absmax.wrapping_add(element >> shift), step >> shift);
        }
        // Groups of the run that exist: half of the last stripe may not.
        let groups = self.count.min((k - self.first) / GROUP);
        for i in 0..rows.count {
            let (element, out) = (element + i * step, out.wrapping_add(i * self.count));
            // SAFETY: the blocks hold elements that exist; `out` has room.
            unsafe {
                if self.blocks {
                    let count = if self.halves { groups } else { self.count };
                    (kernels.scales)(scales, element >> shift, count, out);
                } else {
                    for group in 0..groups {
                        *out.add(group) = scales.get((element + group * GROUP) >> shift);
                    }
                }
                if self.halves && groups < self.count {
                    *out.add(groups) = 0.0;
                }
            }
        }
        (out, self.count)
    }
}

//! A run of a job's input rows, and the path that computes it.

use super::super::runner::Runner;
use super::kernels::{BlockSumKernels, Kernels, TileKernels};
use super::row::{depth_and_width, row_range};
use super::split::Split;
use super::workspace::Workspace;
use super::{axpy, block_sums, dot, panel, tiles, tiles_transposed};
use crate::backend::GemmJob;
use crate::error::{Result, err};

/// How a piece is computed.
#[derive(Clone, Copy)]
enum Path {
    /// Straight from the codes: few input rows.
    Dot,
    /// The same, transposed.
    Axpy,
    /// By `f32` panels.
    Panel,
    /// By panels of `bf16` tiles.
    Tiles(&'static TileKernels),
    /// By tiles of unscaled codes.
    BlockSums(&'static BlockSumKernels),
}

impl Path {
    /// The path of a job of which the input rows from `first` on are left, `rows` of them.
    ///
    /// # Safety
    /// The job's pointers are as its fields say.
    unsafe fn of(job: &GemmJob, first: usize, rows: usize, kernels: &'static Kernels) -> Self {
        if depth_and_width(job).0 == 0 {
            return Path::Panel;
        }
        if let Some(block_sums) = &kernels.block_sums {
            // SAFETY: passed on.
            if unsafe { block_sums::takes(job, first, rows, block_sums) } {
                return Path::BlockSums(block_sums);
            }
        }
        match &kernels.tiles {
            _ if rows <= axpy::ALWAYS_INPUTS && axpy::takes(job, rows, kernels) => Path::Axpy,
            Some(tiles) if tiles::takes(job, rows) => Path::Tiles(tiles),
            _ if rows <= dot::MAX_INPUTS && !job.transpose => Path::Dot,
            _ if axpy::takes(job, rows, kernels) => Path::Axpy,
            _ => Path::Panel,
        }
    }

    /// Into how many chunks the terms of a sum are divided, and the bytes of the chunks' sums.
    fn division(&self, job: &GemmJob) -> (usize, Option<usize>) {
        match self {
            Path::Axpy => (axpy::chunks(job), axpy::sums_bytes(job)),
            Path::Tiles(_) if job.transpose => {
                (tiles_transposed::chunks(job), tiles_transposed::sums_bytes(job))
            }
            _ => (1, Some(0)),
        }
    }
}

/// Some input rows of a job.
pub(super) struct Piece {
    job: GemmJob,
    path: Path,
    /// Which output columns a task computes.
    split: Split,
    /// Runs of output columns: tasks, if the terms of a sum are not divided too.
    runs: usize,
    /// Into how many streams of neighbouring runs they are divided; streams are begun together, so
    /// that a thread goes through one, and what it fetched ahead in a run serves its next.
    streams: usize,
    /// Calls of [`pack`](Self::pack).
    pub(super) pack_tasks: usize,
    /// Calls of [`compute`](Self::compute).
    pub(super) tasks: usize,
    /// Calls of [`finish`](Self::finish).
    pub(super) finish_tasks: usize,
    /// Bytes of packed input.
    pub(super) input_bytes: usize,
    /// Bytes of sums that tasks leave for others.
    pub(super) sums_bytes: usize,
    /// Where the packed input, and behind it the sums, begin in the batch's memory.
    pub(super) input_offset: usize,
}

impl Piece {
    /// The piece that begins with input row `first` of the job.
    ///
    /// # Safety
    /// The job's pointers are as its fields say.
    pub(super) unsafe fn next(
        job: &GemmJob,
        first: usize,
        kernels: &'static Kernels,
        runner: &Runner,
    ) -> Result<Self> {
        let left = job.m as usize - first;
        let (depth, width) = depth_and_width(job);
        // SAFETY: passed on.
        let path = unsafe { Path::of(job, first, left, kernels) };
        let rows = match path {
            Path::Dot | Path::Axpy | Path::BlockSums(_) => left,
            Path::Panel => left.min(panel::MAX_INPUTS),
            Path::Tiles(_) => left.min(tiles::MAX_INPUTS),
        };
        let job = row_range(job, first, rows);
        let (chunks, sums_bytes) = path.division(&job);
        let (bytes, pack_tasks, split) = match path {
            Path::Dot => (dot::input_bytes(&job, kernels), dot::pack_tasks(&job), dot::split(&job, runner)),
            Path::Axpy => (
                panel::input_bytes(&job),
                panel::pack_tasks(&job),
                Split::even(axpy::task_columns(&job, runner)),
            ),
            Path::Panel => (
                panel::input_bytes(&job),
                panel::pack_tasks(&job),
                Split::even(panel::task_columns(&job, kernels, runner)),
            ),
            Path::Tiles(_) => {
                let columns =
                    if job.transpose { tiles_transposed::task_columns } else { tiles::task_columns };
                (tiles::input_bytes(&job), tiles::pack_tasks(&job), Split::even(columns(&job, runner)))
            }
            Path::BlockSums(_) => (
                block_sums::input_bytes(&job),
                block_sums::pack_tasks(&job),
                Split::even(block_sums::task_columns(&job, runner)),
            ),
        };
        let whole_lines = |bytes: Option<usize>| {
            bytes.and_then(|b| b.checked_next_multiple_of(64)).ok_or_else(|| {
                err!(OutOfMemory, "packed input and sums of {rows} rows of {depth} by {width} elements")
            })
        };
        let (input_bytes, sums_bytes) = (whole_lines(bytes)?, whole_lines(sums_bytes)?);
        let runs = split.tasks(width);
        Ok(Piece {
            job,
            path,
            split,
            runs,
            streams: if matches!(path, Path::BlockSums(_)) { runner.threads() } else { 1 },
            pack_tasks,
            tasks: runs * chunks,
            finish_tasks: if chunks > 1 { runs } else { 0 },
            input_bytes,
            sums_bytes,
            input_offset: 0,
        })
    }

    /// How many input rows.
    pub(super) fn rows(&self) -> usize {
        self.job.m as usize
    }

    /// Packs a part of the input.
    ///
    /// # Safety
    /// The job's pointers are as its fields say; `memory` is the batch's.
    pub(super) unsafe fn pack(&self, kernels: &Kernels, memory: *mut u8, task: usize) {
        let input = memory.wrapping_add(self.input_offset);
        // SAFETY: passed on.
        unsafe {
            match self.path {
                Path::Dot => dot::pack(&self.job, kernels, input.cast(), task),
                Path::Axpy | Path::Panel => panel::pack(&self.job, kernels, input.cast(), task),
                Path::Tiles(tiles) => tiles::pack(&self.job, tiles, input, task),
                Path::BlockSums(kernels) => block_sums::pack(&self.job, kernels, input, task),
            }
        }
    }

    /// Computes a run of output columns, or a chunk of the terms of one.
    ///
    /// # Safety
    /// As [`pack`](Self::pack), which has been called for all its tasks.
    pub(super) unsafe fn compute(
        &self,
        kernels: &Kernels,
        memory: *mut u8,
        workspace: &Workspace,
        task: usize,
    ) -> Result<()> {
        let input = memory.wrapping_add(self.input_offset);
        let (first, count) = self.run(task);
        // SAFETY: passed on.
        unsafe {
            match self.path {
                Path::Dot => dot::columns(&self.job, kernels, input.cast(), first, count),
                Path::Axpy => {
                    let product = self.axpy(kernels, memory);
                    product.columns(workspace, task / self.runs, first, count)?;
                    if self.finish_tasks == 0 {
                        product.finish(first, count);
                    }
                }
                Path::Panel => {
                    panel::columns(&self.job, kernels, input.cast(), workspace, first, count)?;
                }
                Path::Tiles(tiles) if self.job.transpose => {
                    let product = self.tiles_transposed(kernels, tiles, memory);
                    product.columns(workspace, task / self.runs, first, count)?;
                    if self.finish_tasks == 0 {
                        product.finish(first, count);
                    }
                }
                Path::Tiles(tiles) => {
                    tiles::columns(&self.job, kernels, tiles, input, workspace, first, count)?;
                }
                Path::BlockSums(block_sums) => {
                    block_sums::columns(&self.job, kernels, block_sums, input, workspace, first, count)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the sums of the chunks of a run of output columns.
    ///
    /// # Safety
    /// As [`compute`](Self::compute), which has been called for all its tasks.
    pub(super) unsafe fn finish(&self, kernels: &Kernels, memory: *mut u8, task: usize) {
        let (first, count) = self.run(task);
        // SAFETY: passed on. Only these paths divide the terms.
        unsafe {
            match self.path {
                Path::Tiles(tiles) => self.tiles_transposed(kernels, tiles, memory).finish(first, count),
                _ => self.axpy(kernels, memory).finish(first, count),
            }
        }
    }

    /// The output columns of a task.
    fn run(&self, task: usize) -> (usize, usize) {
        let (stream, index) = (task % self.runs % self.streams, task % self.runs / self.streams);
        let (length, longer) = (self.runs / self.streams, self.runs % self.streams);
        let run = stream * length + stream.min(longer) + index;
        self.split.task(run, depth_and_width(&self.job).1)
    }

    fn axpy<'a>(&'a self, kernels: &'a Kernels, memory: *mut u8) -> axpy::Product<'a> {
        let input = memory.wrapping_add(self.input_offset);
        let sums = input.wrapping_add(self.input_bytes).cast();
        axpy::Product { job: &self.job, kernels, widened: input.cast(), sums }
    }

    fn tiles_transposed<'a>(
        &'a self,
        kernels: &'a Kernels,
        tiles: &'a TileKernels,
        memory: *mut u8,
    ) -> tiles_transposed::Product<'a> {
        let packed = memory.wrapping_add(self.input_offset);
        let sums = packed.wrapping_add(self.input_bytes).cast();
        tiles_transposed::Product { job: &self.job, kernels, tiles, packed, sums }
    }
}

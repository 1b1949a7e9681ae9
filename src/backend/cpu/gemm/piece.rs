//! A run of a job's input rows, and the path that computes it.

use super::super::runner::Runner;
use super::kernels::{BlockSumKernels, Kernels, TileKernels};
use super::row::{depth_and_width, row_range};
use super::workspace::Workspace;
use super::{block_sums, dot, panel, tiles};
use crate::backend::GemmJob;
use crate::error::{Result, err};

/// How a piece is computed.
#[derive(Clone, Copy)]
enum Path {
    /// Straight from the codes: few input rows.
    Dot,
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
            Some(tiles) if tiles::takes(job, rows) => Path::Tiles(tiles),
            _ if rows <= dot::MAX_INPUTS && !job.transpose => Path::Dot,
            _ => Path::Panel,
        }
    }
}

/// Some input rows of a job.
pub(super) struct Piece {
    job: GemmJob,
    path: Path,
    /// Output columns per task.
    task_columns: usize,
    /// Runs of neighbouring tasks that are begun together, so that each thread goes through one and
    /// what it fetched ahead at the end of a task serves its next.
    runs: usize,
    /// Calls of [`pack`](Self::pack).
    pub(super) pack_tasks: usize,
    /// Calls of [`compute`](Self::compute).
    pub(super) tasks: usize,
    /// Bytes of packed input.
    pub(super) input_bytes: usize,
    /// Where they begin in the batch's memory.
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
            Path::Dot | Path::BlockSums(_) => left,
            Path::Panel => left.min(panel::MAX_INPUTS),
            Path::Tiles(_) => left.min(tiles::MAX_INPUTS),
        };
        let job = row_range(job, first, rows);
        let (bytes, pack_tasks, task_columns) = match path {
            Path::Dot => {
                (dot::input_bytes(&job, kernels), dot::pack_tasks(&job), dot::task_rows(&job, runner))
            }
            Path::Panel => (
                panel::input_bytes(&job),
                panel::pack_tasks(&job),
                panel::task_columns(&job, kernels, runner),
            ),
            Path::Tiles(_) => {
                (tiles::input_bytes(&job), tiles::pack_tasks(&job), tiles::task_columns(&job, runner))
            }
            Path::BlockSums(_) => (
                block_sums::input_bytes(&job),
                block_sums::pack_tasks(&job),
                block_sums::task_columns(&job, runner),
            ),
        };
        let input_bytes = bytes
            .and_then(|b| b.checked_next_multiple_of(64))
            .ok_or_else(|| err!(OutOfMemory, "packed input of {rows} rows of {depth} elements"))?;
        let tasks = width.div_ceil(task_columns);
        let runs = if matches!(path, Path::BlockSums(_)) { runner.threads() } else { 1 };
        Ok(Piece { job, path, task_columns, runs, pack_tasks, tasks, input_bytes, input_offset: 0 })
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
                Path::Panel => panel::pack(&self.job, kernels, input.cast(), task),
                Path::Tiles(tiles) => tiles::pack(&self.job, tiles, input, task),
                Path::BlockSums(kernels) => block_sums::pack(&self.job, kernels, input, task),
            }
        }
    }

    /// Which run of output columns task `task` computes: every `runs`-th task continues a run.
    fn place(&self, task: usize) -> usize {
        let (run, index) = (task % self.runs, task / self.runs);
        run * (self.tasks / self.runs) + run.min(self.tasks % self.runs) + index
    }

    /// Computes a run of output columns.
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
        let first = self.place(task) * self.task_columns;
        let count = self.task_columns.min(depth_and_width(&self.job).1 - first);
        // SAFETY: passed on.
        unsafe {
            match self.path {
                Path::Dot => dot::columns(&self.job, kernels, input.cast(), first, count),
                Path::Panel => {
                    panel::columns(&self.job, kernels, input.cast(), workspace, first, count)?;
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
}

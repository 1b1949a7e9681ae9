//! Products: what all arms share. A job is cut into pieces of input rows; a piece's input is packed
//! as its path wants it, then tasks compute runs of output columns. Several jobs (the experts of a
//! mixture) are packed and computed together, so that small ones do not wait for one another.
//!
//! Every output element is computed by one task, in an order of additions that follows from the
//! shape alone: neither the number of threads nor the size of tasks changes a result.

mod axpy;
mod block_sums;
mod dot;
pub(crate) mod kernels;
mod lookup_rows;
mod panel;
mod piece;
pub(crate) mod row;
mod split;
mod tile_kernels;
mod tiles;
mod tiles_transposed;
mod weight_rows;
mod workspace;

pub(crate) use kernels::Kernels;
pub(crate) use workspace::Workspace;

use std::sync::Mutex;

use self::piece::Piece;
use super::float_env::DefaultFloatEnv;
use super::runner::{Runner, Shared};
use crate::backend::GemmJob;
use crate::error::{Error, Result};

/// Pieces that are computed together.
const BATCH: usize = 32;
/// Packed input and divided sums of the pieces that are computed together, unless one alone needs more.
const BATCH_BYTES: usize = 32 << 20;
/// Less input than this is packed by the calling thread: waking others would take longer.
const PACK_ALONE_BYTES: usize = 1 << 17;

/// Computes the jobs.
///
/// # Safety
/// The jobs' pointers are as their fields say, outputs overlap nothing; the machine supports the
/// kernels' arm.
pub(crate) unsafe fn run(
    jobs: &[GemmJob],
    kernels: &'static Kernels,
    runner: &Runner,
    workspace: &Workspace,
) -> Result<()> {
    let mut batch = Batch { kernels, runner, workspace, pieces: [const { None }; BATCH], count: 0, bytes: 0 };
    for job in jobs {
        let mut row = 0;
        while row < job.m as usize {
            // SAFETY: the caller's contract.
            let piece = unsafe { Piece::next(job, row, kernels, runner)? };
            row += piece.rows();
            let bytes = piece.input_bytes + piece.sums_bytes;
            if batch.count == BATCH || (batch.count > 0 && batch.bytes + bytes > BATCH_BYTES) {
                // SAFETY: the caller's contract.
                unsafe { batch.run()? };
            }
            batch.add(piece);
        }
    }
    // SAFETY: the caller's contract.
    unsafe { batch.run() }
}

struct Batch<'a> {
    kernels: &'static Kernels,
    runner: &'a Runner,
    workspace: &'a Workspace,
    pieces: [Option<Piece>; BATCH],
    count: usize,
    bytes: usize,
}

impl Batch<'_> {
    fn add(&mut self, mut piece: Piece) {
        piece.input_offset = self.bytes;
        self.bytes += piece.input_bytes + piece.sums_bytes;
        self.pieces[self.count] = Some(piece);
        self.count += 1;
    }

    /// Computes what was added and leaves the batch empty.
    ///
    /// # Safety
    /// As [`run`].
    unsafe fn run(&mut self) -> Result<()> {
        let (kernels, workspace) = (self.kernels, self.workspace);
        let lease = workspace.take(self.bytes)?;
        // SAFETY: tasks write disjoint parts of the packed input, later of the outputs.
        let shared = unsafe { Shared::new((lease.pointer(), &self.pieces[..self.count])) };
        let total = |count: fn(&Piece) -> usize| self.pieces[..self.count].iter().flatten().map(count).sum();
        let pack = |index: usize| {
            let (memory, pieces) = *shared.get();
            if let Some((piece, task)) = locate(pieces, index, |p| p.pack_tasks) {
                // SAFETY: the caller's contract.
                unsafe { piece.pack(kernels, memory, task) };
            }
        };
        let tasks: usize = total(|p| p.pack_tasks);
        if total(|p| p.input_bytes) < PACK_ALONE_BYTES {
            let _env = DefaultFloatEnv::set();
            (0..tasks).for_each(pack);
        } else {
            self.runner.run(tasks, &pack);
        }
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        self.runner.run(total(|p| p.tasks), &|index| {
            let (memory, pieces) = *shared.get();
            if let Some((piece, task)) = locate(pieces, index, |p| p.tasks) {
                // SAFETY: the caller's contract; the input was packed.
                if let Err(error) = unsafe { piece.compute(kernels, memory, workspace, task) } {
                    failure.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
                }
            }
        });
        let failure = failure.into_inner().unwrap_or_else(|e| e.into_inner());
        let finish_tasks: usize = total(|p| p.finish_tasks);
        if finish_tasks > 0 && failure.is_none() {
            self.runner.run(finish_tasks, &|index| {
                let (memory, pieces) = *shared.get();
                if let Some((piece, task)) = locate(pieces, index, |p| p.finish_tasks) {
                    // SAFETY: the caller's contract; the chunks were computed.
                    unsafe { piece.finish(kernels, memory, task) };
                }
            });
        }
        (self.count, self.bytes) = (0, 0);
        failure.map_or(Ok(()), Err)
    }
}

/// The piece that index `index` of all pieces' tasks falls into, and its own task number.
fn locate(
    pieces: &[Option<Piece>],
    mut index: usize,
    count: impl Fn(&Piece) -> usize,
) -> Option<(&Piece, usize)> {
    for piece in pieces.iter().flatten() {
        if index < count(piece) {
            return Some((piece, index));
        }
        index -= count(piece);
    }
    None
}

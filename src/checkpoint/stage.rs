//! Work through many tensors in parallel chunks, with bounded memory, progress and cancelling.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::progress::{Phase, Progress, ProgressFn};
use crate::context::Context;
use crate::error::{Result, err};

/// Chunks per thread between two calls of the progress function. Few enough to cancel quickly and
/// to keep few tensors in flight, enough for threads not to wait for each other.
const CHUNKS_PER_THREAD: usize = 16;

/// One tensor's share of a stage.
pub(super) struct Item<'a> {
    pub name: &'a str,
    /// What it counts for in the progress.
    pub bytes: u64,
    /// At least one.
    pub chunks: u64,
    /// Bytes of memory held from its first chunk to its last, beside the chunks' own.
    pub held: u64,
}

impl<'a> Item<'a> {
    /// An item of `length` units of work, `chunk` to a task.
    pub fn new(name: &'a str, bytes: u64, length: u64, chunk: u64) -> Self {
        Item { name, bytes, chunks: length.div_ceil(chunk).max(1), held: 0 }
    }
}

/// Runs stages and adds up their progress.
pub(super) struct Stages<'c, 'p, 'f> {
    pub context: &'c Context,
    pub progress: &'p mut ProgressFn<'f>,
    pub done: u64,
    pub total: u64,
    /// Bytes that items in flight may hold together; a single one may hold more.
    pub held_limit: u64,
}

impl Stages<'_, '_, '_> {
    /// Calls `task(item, chunk, state)` for every chunk of every item, each once, on any thread.
    /// `begin` makes an item's state, on the calling thread, before its first chunk starts; it is
    /// dropped soon after the last. Items start in order, and only while those in flight hold no
    /// more memory than the limit. The first error ends the stage.
    pub fn run<S: Sync>(
        &mut self,
        phase: Phase,
        items: &[Item<'_>],
        begin: impl Fn(usize) -> Result<S>,
        task: impl Fn(usize, u64, &S) -> Result<()> + Sync,
    ) -> Result<()> {
        let per_wave = self.context.threads() * CHUNKS_PER_THREAD;
        let done_before = self.done;
        let mut done_items = 0;
        let mut live: Vec<(usize, S)> = Vec::new();
        let (mut item, mut chunk) = (0, 0);
        while item < items.len() {
            let mut wave = Vec::with_capacity(per_wave);
            let started = item;
            let mut held: u64 = live.iter().map(|(i, _)| items[*i].held).sum();
            while wave.len() < per_wave && item < items.len() {
                if chunk == 0 {
                    held = held.saturating_add(items[item].held);
                    if held > self.held_limit && !wave.is_empty() {
                        break;
                    }
                    live.push((item, begin(item)?));
                }
                wave.push((live.len() - 1, chunk));
                chunk += 1;
                if chunk == items[item].chunks {
                    done_items += items[item].bytes;
                    (item, chunk) = (item + 1, 0);
                }
            }
            self.run_wave(&wave, &live, &task)?;
            // What is left of the item that the wave ended in.
            live.drain(..live.len() - usize::from(chunk > 0));
            let partly = match items.get(item) {
                Some(i) if chunk > 0 => {
                    (u128::from(i.bytes) * u128::from(chunk) / u128::from(i.chunks)) as u64
                }
                _ => 0,
            };
            self.done = done_before + done_items + partly;
            self.report(phase, items[started].name)?;
        }
        Ok(())
    }

    fn run_wave<S: Sync>(
        &self,
        wave: &[(usize, u64)],
        live: &[(usize, S)],
        task: &(impl Fn(usize, u64, &S) -> Result<()> + Sync),
    ) -> Result<()> {
        let failed = AtomicBool::new(false);
        let error = Mutex::new(None);
        self.context.host().runner().run(wave.len(), &|i| {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let (slot, chunk) = wave[i];
            let (item, state) = &live[slot];
            if let Err(e) = task(*item, chunk, state) {
                failed.store(true, Ordering::Relaxed);
                error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
            }
        });
        match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    fn report(&mut self, phase: Phase, tensor: &str) -> Result<()> {
        let progress = Progress { phase, tensor, done: self.done, total: self.total };
        match (self.progress)(&progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(err!(Cancelled, "cancelled at tensor {tensor}")),
        }
    }
}

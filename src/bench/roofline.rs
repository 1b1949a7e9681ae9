//! What this machine allows, with the threads that the kernels use: how fast its memory can be
//! read, written and copied, and how fast it can multiply.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::peak::{Peak, bf16_peak, f32_peak};
use super::{Effort, Sink, Source, measure};
use crate::backend::cpu::{CpuBackend, Runner, stream};
use crate::error::Result;

/// Bytes per task.
const CHUNK: usize = 256 << 10;
/// Bytes per measured loop: past every private cache, long against its start.
const BYTES: usize = 128 << 20;

/// Bandwidths in bytes per second, rates in operations per second. Medians.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Roofline {
    /// Reading: the fastest of several ways.
    pub read: f64,
    /// Writing with ordinary stores.
    pub write: f64,
    /// Writing with stores that go past the caches.
    pub write_streamed: f64,
    /// Copying with ordinary stores: bytes read plus bytes written.
    pub copy: f64,
    /// Copying with stores that go past the caches.
    pub copy_streamed: f64,
    /// `f32` multiply-adds, two operations each, with the arm's instructions.
    pub f32_flops: f64,
    /// The same for `bf16` products summed in `f32`, if the arm has instructions for them.
    pub bf16_flops: Option<f64>,
    /// The largest share of the processors that others used during one of these.
    pub busy: Option<f64>,
}

impl Roofline {
    /// Measures with cold memory of `source` and `sink`.
    pub fn measure(cpu: &CpuBackend, source: &mut Source, sink: &mut Sink, effort: &Effort) -> Result<Self> {
        let meter = &mut Meter { runner: cpu.runner(), effort, busy: None };
        let read = [sum_plain, sum_four_streams, sum_prefetched]
            .map(|sum| meter.read(source, sum))
            .into_iter()
            .try_fold(0.0, |best: f64, rate| rate.map(|r| best.max(r)))?;
        Ok(Roofline {
            read,
            write: meter.write(sink, |to| to.fill(0x31))?,
            write_streamed: meter.write(sink, fill_streamed)?,
            copy: meter.copy(source, sink, |from, to| to.copy_from_slice(from))?,
            copy_streamed: meter.copy(source, sink, copy_streamed)?,
            f32_flops: meter.arithmetic(&f32_peak(cpu.isa())),
            bf16_flops: bf16_peak(cpu.isa()).map(|peak| meter.arithmetic(&peak)),
            busy: meter.busy,
        })
    }

    /// Writing, with the faster kind of store.
    pub fn best_write(&self) -> f64 {
        self.write.max(self.write_streamed)
    }

    /// Copying, with the faster kind of store.
    pub fn best_copy(&self) -> f64 {
        self.copy.max(self.copy_streamed)
    }
}

struct Meter<'a> {
    runner: &'a Runner,
    effort: &'a Effort,
    busy: Option<f64>,
}

impl Meter<'_> {
    /// What `operation` does of `amount` per second.
    fn rate(&mut self, amount: f64, operation: impl FnMut()) -> f64 {
        let timing = measure(self.effort, operation);
        self.busy = if timing.busy > self.busy { timing.busy } else { self.busy };
        amount / timing.median
    }

    fn read(&mut self, source: &mut Source, sum: fn(&[u64]) -> u64) -> Result<f64> {
        let slots = slots(source)?;
        let mut turn = slots.iter().cycle();
        let (runner, total) = (self.runner, AtomicU64::new(0));
        Ok(self.rate(BYTES as f64, || {
            let bytes = turn.next().map_or(&[][..], |slot| slot.as_slice());
            runner.run(BYTES / CHUNK, &|i| {
                // SAFETY: every bit pattern is a u64; a slot and its chunks are aligned to 64.
                let (_, words, _) = unsafe { bytes[i * CHUNK..][..CHUNK].align_to::<u64>() };
                total.fetch_add(sum(words), Relaxed);
            });
        }))
    }

    fn write(&mut self, sink: &mut Sink, write: fn(&mut [u8])) -> Result<f64> {
        sink.slot(BYTES)?;
        let runner = self.runner;
        Ok(self.rate(BYTES as f64, || {
            if let Ok(to) = sink.slot(BYTES) {
                let to = AtomicPtr::new(to.as_mut_ptr());
                runner.run(BYTES / CHUNK, &|i| {
                    // SAFETY: chunk `i` lies in the slot, and no other task uses it.
                    write(unsafe { std::slice::from_raw_parts_mut(to.load(Relaxed).add(i * CHUNK), CHUNK) });
                });
            }
        }))
    }

    fn copy(&mut self, source: &mut Source, sink: &mut Sink, copy: fn(&[u8], &mut [u8])) -> Result<f64> {
        let slots = slots(source)?;
        let mut turn = slots.iter().cycle();
        sink.slot(BYTES)?;
        let runner = self.runner;
        Ok(self.rate(2.0 * BYTES as f64, || {
            let from = turn.next().map_or(&[][..], |slot| slot.as_slice());
            if let Ok(to) = sink.slot(BYTES) {
                let to = AtomicPtr::new(to.as_mut_ptr());
                runner.run(BYTES / CHUNK, &|i| {
                    // SAFETY: chunk `i` lies in the slot, and no other task uses it.
                    let to =
                        unsafe { std::slice::from_raw_parts_mut(to.load(Relaxed).add(i * CHUNK), CHUNK) };
                    copy(&from[i * CHUNK..][..CHUNK], to);
                });
            }
        }))
    }

    fn arithmetic(&mut self, peak: &Peak) -> f64 {
        const ROUNDS: u64 = 20_000;
        let tasks = self.runner.threads() * 8;
        let (runner, call) = (self.runner, peak.rounds);
        self.rate((tasks as u64 * ROUNDS * peak.flops_per_round) as f64, || {
            // SAFETY: the loop is of the backend's own arm, which the machine supports.
            runner.run(tasks, &|_| unsafe { call(ROUNDS) });
        })
    }
}

fn slots(source: &mut Source) -> Result<Vec<crate::memory::Bytes>> {
    (0..source.slots(BYTES)).map(|_| source.slot(BYTES)).collect()
}

/// A sum in eight independent lanes, so that only memory limits it.
fn sum_plain(words: &[u64]) -> u64 {
    let mut lanes = [0u64; 8];
    for eight in words.chunks_exact(8) {
        lanes.iter_mut().zip(eight).for_each(|(lane, w)| *lane = lane.wrapping_add(*w));
    }
    lanes.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// The same over four parts side by side.
fn sum_four_streams(words: &[u64]) -> u64 {
    let parts: [&[u64]; 4] = std::array::from_fn(|i| &words[i * words.len() / 4..][..words.len() / 4]);
    let mut lanes = [[0u64; 8]; 4];
    for at in (0..parts[0].len() / 8 * 8).step_by(8) {
        for (lanes, part) in lanes.iter_mut().zip(parts) {
            lanes.iter_mut().zip(&part[at..at + 8]).for_each(|(lane, w)| *lane = lane.wrapping_add(*w));
        }
    }
    lanes.iter().flatten().fold(0, |a, b| a.wrapping_add(*b))
}

/// The same in order, asking for memory ahead.
fn sum_prefetched(words: &[u64]) -> u64 {
    const AHEAD: usize = 2048 / 8;
    let mut lanes = [0u64; 8];
    for eight in words.chunks_exact(8) {
        prefetch(eight.as_ptr().wrapping_add(AHEAD));
        lanes.iter_mut().zip(eight).for_each(|(lane, w)| *lane = lane.wrapping_add(*w));
    }
    lanes.iter().fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(target_arch = "x86_64")]
fn prefetch(address: *const u64) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint that faults on no address; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: *const u64) {}

fn fill_streamed(to: &mut [u8]) {
    const PART: usize = 16 << 10;
    let from = [0x31u8; PART];
    to.chunks_mut(PART).for_each(|part| {
        // SAFETY: a part is at most as long as `from`.
        unsafe { stream::copy(from.as_ptr(), part.as_mut_ptr(), part.len()) };
    });
    stream::fence();
}

fn copy_streamed(from: &[u8], to: &mut [u8]) {
    // SAFETY: no longer than either, which do not overlap.
    unsafe { stream::copy(from.as_ptr(), to.as_mut_ptr(), to.len().min(from.len())) };
    stream::fence();
}

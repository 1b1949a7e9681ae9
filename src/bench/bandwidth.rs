//! Reading, writing and copying as fast as memory allows, on all threads.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use crate::backend::cpu::{Runner, stream};

/// Most bytes per task.
const CHUNK: usize = 256 << 10;

/// Reads a run of words.
pub(super) type Sum = fn(&[u64]) -> u64;
/// Writes a run of bytes.
pub(super) type Fill = fn(&mut [u8]);
/// Copies the first run to the second, of the same length.
pub(super) type Copy = fn(&[u8], &mut [u8]);

/// Several ways to read. Which is fastest depends on the processor.
pub(super) const READS: [Sum; 3] = [sum_plain, sum_four_streams, sum_prefetched];
/// Ways to write: with ordinary stores, and with ones that go past the caches.
pub(super) const WRITES: [Fill; 2] = [fill, fill_streamed];
/// Ways to copy, in the same order.
pub(super) const COPIES: [Copy; 2] = [copy, copy_streamed];

/// Bytes per task: as many tasks as a kernel would make of it, so that a short run does not end
/// with one thread waiting for the other.
fn chunk(runner: &Runner, bytes: usize) -> usize {
    (bytes / (8 * runner.threads())).next_multiple_of(4096).min(CHUNK)
}

/// Reads `from`, which is aligned to 8.
pub(super) fn read(runner: &Runner, from: &[u8], sum: Sum) {
    let (size, total) = (chunk(runner, from.len()), AtomicU64::new(0));
    runner.run(from.len().div_ceil(size), &|i| {
        let end = from.len().min((i + 1) * size);
        // SAFETY: every bit pattern is a u64.
        let (_, words, _) = unsafe { from[i * size..end].align_to::<u64>() };
        total.fetch_add(sum(words), Relaxed);
    });
    std::hint::black_box(total);
}

/// Writes `to`.
pub(super) fn write(runner: &Runner, to: &mut [u8], fill: Fill) {
    let size = chunk(runner, to.len());
    let (len, start) = (to.len(), AtomicPtr::new(to.as_mut_ptr()));
    runner.run(len.div_ceil(size), &|i| {
        let count = size.min(len - i * size);
        // SAFETY: inside `to`; no other task uses these bytes.
        fill(unsafe { std::slice::from_raw_parts_mut(start.load(Relaxed).add(i * size), count) });
    });
}

/// Copies `from` to `to`, of the same length.
pub(super) fn copy_all(runner: &Runner, from: &[u8], to: &mut [u8], copy: Copy) {
    let size = chunk(runner, to.len());
    let (len, start) = (to.len().min(from.len()), AtomicPtr::new(to.as_mut_ptr()));
    runner.run(len.div_ceil(size), &|i| {
        let count = size.min(len - i * size);
        // SAFETY: inside `to`; no other task uses these bytes.
        let part = unsafe { std::slice::from_raw_parts_mut(start.load(Relaxed).add(i * size), count) };
        copy(&from[i * size..][..count], part);
    });
}

fn fill(to: &mut [u8]) {
    to.fill(0x31);
}

fn copy(from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
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

//! How fast this machine's memory can be read, written and copied, with the threads that the
//! kernels use.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Arena, measure};
use crate::backend::cpu::{Runner, stream};

/// Bytes per task.
const CHUNK: usize = 256 << 10;

/// Bandwidths in bytes per second.
#[derive(Clone, Copy, Debug)]
pub struct Roofline {
    /// Reading.
    pub read: f64,
    /// Writing, with ordinary or streaming stores, whichever is faster.
    pub write: f64,
    /// Copying, bytes read plus bytes written, with the faster kind of store.
    pub copy: f64,
}

impl Roofline {
    /// Measures with buffers of `bytes` bytes taken from `arena`.
    pub fn measure(runner: &Runner, arena: &mut Arena, bytes: usize, budget: Duration) -> Self {
        let chunks = bytes / CHUNK;
        let bytes = chunks * CHUNK;
        let mut rate = |moved: usize, chunk: &(dyn Fn(*mut u8, *mut u8) + Sync)| {
            let timing = measure(budget, || {
                let (a, b) = (arena.slot(bytes) as usize, arena.slot(bytes) as usize);
                runner.run(chunks, &|i| chunk((a + i * CHUNK) as *mut u8, (b + i * CHUNK) as *mut u8));
            });
            moved as f64 / timing.median
        };
        let sink = AtomicU64::new(0);
        // SAFETY, for all: each task has chunks of its own, inside two slots that are in use by
        // nothing else.
        let read = rate(bytes, &|a, _| {
            // SAFETY: see above.
            sink.fetch_add(unsafe { sum(a) }, Relaxed);
        });
        // SAFETY: see above.
        let filled = rate(bytes, &|a, _| unsafe { a.write_bytes(0x31, CHUNK) });
        let zeros = vec![0x31u8; CHUNK.min(16 << 10)];
        let streamed = rate(bytes, &|a, _| {
            for at in (0..CHUNK).step_by(zeros.len()) {
                // SAFETY: see above.
                unsafe { stream::copy(zeros.as_ptr(), a.add(at), zeros.len()) };
            }
            stream::fence();
        });
        // SAFETY: see above.
        let copied = rate(2 * bytes, &|a, b| unsafe { a.copy_to_nonoverlapping(b, CHUNK) });
        let stream_copied = rate(2 * bytes, &|a, b| {
            // SAFETY: see above.
            unsafe { stream::copy(a, b, CHUNK) };
            stream::fence();
        });
        Roofline { read, write: filled.max(streamed), copy: copied.max(stream_copied) }
    }
}

/// A sum in eight independent lanes, so that only memory limits it.
///
/// # Safety
/// `chunk` holds [`CHUNK`] bytes, aligned to 8.
unsafe fn sum(chunk: *const u8) -> u64 {
    // SAFETY: the caller's contract.
    let words = unsafe { std::slice::from_raw_parts(chunk.cast::<u64>(), CHUNK / 8) };
    let mut lanes = [0u64; 8];
    for eight in words.chunks_exact(8) {
        lanes.iter_mut().zip(eight).for_each(|(lane, w)| *lane = lane.wrapping_add(*w));
    }
    lanes.iter().fold(0, |a, b| a.wrapping_add(*b))
}

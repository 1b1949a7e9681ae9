//! How fast this machine's memory can be read, written and copied, with the threads that the
//! kernels use.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Arena, measure_in_turn};
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
    /// Measures with slots of `bytes` bytes of `arena`, whose contents are lost.
    pub fn measure(runner: &Runner, arena: &mut Arena, bytes: usize, budget: Duration) -> Self {
        let arena = std::cell::RefCell::new(arena);
        let slot = || arena.borrow_mut().slot(bytes);
        // SAFETY: the slots are `bytes` long, in use by nothing else, and two in a row are two.
        let timings = measure_in_turn(
            5 * budget,
            &mut [
                &mut || unsafe { read(runner, slot(), bytes) },
                &mut || unsafe { write(runner, slot(), bytes, false) },
                &mut || unsafe { write(runner, slot(), bytes, true) },
                &mut || unsafe { copy(runner, slot(), slot(), bytes, false) },
                &mut || unsafe { copy(runner, slot(), slot(), bytes, true) },
            ],
        );
        let rate = |i: usize, moved: usize| moved as f64 / timings[i].median;
        Roofline {
            read: rate(0, bytes),
            write: rate(1, bytes).max(rate(2, bytes)),
            copy: rate(3, 2 * bytes).max(rate(4, 2 * bytes)),
        }
    }
}

/// Calls `chunk` with the offset and length of every part of `bytes`.
fn in_chunks(runner: &Runner, bytes: usize, chunk: &(dyn Fn(usize, usize) + Sync)) {
    runner.run(bytes.div_ceil(CHUNK), &|i| chunk(i * CHUNK, CHUNK.min(bytes - i * CHUNK)));
}

/// Reads `bytes` bytes.
///
/// # Safety
/// `source` holds them and is aligned to 8.
pub unsafe fn read(runner: &Runner, source: *const u8, bytes: usize) {
    let (source, sink) = (source as usize, AtomicU64::new(0));
    in_chunks(runner, bytes, &|at, length| {
        // SAFETY: inside the source.
        let words = unsafe { std::slice::from_raw_parts((source + at) as *const u64, length / 8) };
        sink.fetch_add(sum(words), Relaxed);
    });
    std::hint::black_box(sink.into_inner());
}

/// Overwrites `bytes` bytes with ordinary or streaming stores.
///
/// # Safety
/// `target` has room for them.
pub unsafe fn write(runner: &Runner, target: *mut u8, bytes: usize, streaming: bool) {
    const PATTERN: [u8; 4096] = [0x31; 4096];
    let target = target as usize;
    in_chunks(runner, bytes, &|at, length| {
        let target = (target + at) as *mut u8;
        if streaming {
            for at in (0..length).step_by(PATTERN.len()) {
                // SAFETY: inside the target.
                unsafe { stream::copy(PATTERN.as_ptr(), target.add(at), PATTERN.len().min(length - at)) };
            }
            stream::fence();
        } else {
            // SAFETY: inside the target.
            unsafe { target.write_bytes(0x31, length) };
        }
    });
}

/// Copies `bytes` bytes with ordinary or streaming stores.
///
/// # Safety
/// `source` holds them, `target` has room for them, and the two do not overlap.
pub unsafe fn copy(runner: &Runner, source: *const u8, target: *mut u8, bytes: usize, streaming: bool) {
    let (source, target) = (source as usize, target as usize);
    in_chunks(runner, bytes, &|at, length| {
        let (source, target) = ((source + at) as *const u8, (target + at) as *mut u8);
        // SAFETY: inside source and target.
        unsafe {
            if streaming {
                stream::copy(source, target, length);
                stream::fence();
            } else {
                target.copy_from_nonoverlapping(source, length);
            }
        }
    });
}

/// A sum in eight independent lanes, so that only memory limits it.
fn sum(words: &[u64]) -> u64 {
    let (eights, rest) = words.as_chunks::<8>();
    let mut lanes = [0u64; 8];
    for eight in eights {
        // Indices, because an iterator that is not inlined would be what is measured.
        #[allow(clippy::needless_range_loop)]
        for i in 0..8 {
            lanes[i] = lanes[i].wrapping_add(eight[i]);
        }
    }
    lanes.iter().chain(rest).fold(0, |a, b| a.wrapping_add(*b))
}

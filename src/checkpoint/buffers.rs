//! Working memory that tasks take, grow and give back.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::Result;
use crate::memory::AlignedBytes;

/// A reusable allocation. Contents are whatever the last user left.
#[derive(Default)]
pub(super) struct Buffer(Option<AlignedBytes>);

impl Buffer {
    /// `len` bytes, allocated anew only if there is too little.
    pub fn bytes(&mut self, len: usize) -> Result<&mut [u8]> {
        Ok(&mut self.at_least(len)?.as_mut_slice()[..len])
    }

    /// `count` floats.
    pub fn floats(&mut self, count: usize) -> Result<&mut [f32]> {
        Ok(&mut self.at_least(count.next_multiple_of(16) * 4)?.as_f32_mut()[..count])
    }

    fn at_least(&mut self, len: usize) -> Result<&mut AlignedBytes> {
        let enough = self.0.as_ref().is_some_and(|b| b.as_slice().len() >= len);
        if !enough {
            self.0 = None;
        }
        match &mut self.0 {
            Some(bytes) => Ok(bytes),
            empty => Ok(empty.insert(AlignedBytes::zeroed(len)?)),
        }
    }
}

/// What one task works with.
#[derive(Default)]
pub(super) struct Buffers {
    /// Elements as they stand in the source.
    pub source: Buffer,
    /// A piece of the source on its way into another order.
    pub piece: Buffer,
    /// Elements in their final type and order.
    pub values: Buffer,
    /// Packed codes.
    pub codes: Buffer,
    /// One absmax per block.
    pub absmax: Buffer,
}

/// The most bytes that a task may ask of each buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BufferSizes {
    pub source: u64,
    pub piece: u64,
    pub values: u64,
    pub codes: u64,
    pub absmax: u64,
}

impl BufferSizes {
    /// What serves both.
    pub fn max(self, other: BufferSizes) -> BufferSizes {
        BufferSizes {
            source: self.source.max(other.source),
            piece: self.piece.max(other.piece),
            values: self.values.max(other.values),
            codes: self.codes.max(other.codes),
            absmax: self.absmax.max(other.absmax),
        }
    }

    /// Bytes of all buffers.
    pub fn total(&self) -> u64 {
        self.source + self.piece + self.values + self.codes + self.absmax
    }
}

/// One set of buffers per running task. Tasks wait when there are as many sets as there may be.
pub(super) struct BufferPool {
    state: Mutex<PoolState>,
    returned: Condvar,
    most: usize,
}

#[derive(Default)]
struct PoolState {
    free: Vec<Buffers>,
    in_use: usize,
}

/// A set on loan, which goes back even if the task panics.
struct Loan<'a> {
    pool: &'a BufferPool,
    buffers: Buffers,
}

impl BufferPool {
    /// A pool of at most `most` sets.
    pub fn new(most: usize) -> Self {
        BufferPool { state: Mutex::default(), returned: Condvar::new(), most: most.max(1) }
    }

    /// Runs `work` with a set of buffers.
    pub fn with<R>(&self, work: impl FnOnce(&mut Buffers) -> R) -> R {
        work(&mut self.lend().buffers)
    }

    fn lend(&self) -> Loan<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.in_use >= self.most {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_use += 1;
        Loan { pool: self, buffers: state.free.pop().unwrap_or_default() }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.in_use -= 1;
        state.free.push(std::mem::take(&mut self.buffers));
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_sets_than_allowed_are_lent() {
        let (pool, inside, most) = (BufferPool::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        pool.with(|buffers| {
                            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            buffers.codes.bytes(100).unwrap()[0] = 1;
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert!(most.into_inner() <= 2);
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.with(|_| panic!("task"))));
        assert!(panics.is_err());
        assert_eq!(pool.state.lock().unwrap().in_use, 0);
    }
}

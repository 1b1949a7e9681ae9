//! Working memory that tasks take, grow and give back.

use std::sync::{Mutex, PoisonError};

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

/// One set of buffers per running task.
#[derive(Default)]
pub(super) struct BufferPool(Mutex<Vec<Buffers>>);

impl BufferPool {
    /// Runs `work` with a set of buffers.
    pub fn with<R>(&self, work: impl FnOnce(&mut Buffers) -> R) -> R {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = free().pop().unwrap_or_default();
        let result = work(&mut buffers);
        free().push(buffers);
        result
    }
}

//! Scratch memory that outlives a call, so that repeated products allocate nothing.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use crate::error::{Result, err};

/// Alignment of scratch memory: a cache line, and what AMX tile loads like best.
const ALIGNMENT: usize = 64;
/// Sizes are rounded up to this, so that nearly equal requests share a buffer.
const GRANULE: usize = 1 << 14;
/// Larger buffers are given back to the system after the call.
const KEEP_BYTES: usize = 48 << 20;
/// At most this many idle buffers are kept.
const KEEP_COUNT: usize = 64;

/// Idle buffers of one backend. Threads take what they need and put it back.
pub(crate) struct Workspace {
    idle: Mutex<Vec<Buffer>>,
}

struct Buffer {
    memory: NonNull<u8>,
    size: usize,
}

// SAFETY: a buffer is plain memory with one owner.
unsafe impl Send for Buffer {}

impl Buffer {
    fn new(size: usize) -> Result<Self> {
        let out_of_memory = || err!(OutOfMemory, "{size} bytes of scratch memory for a product");
        let layout = Layout::from_size_align(size, ALIGNMENT).map_err(|_| out_of_memory())?;
        // SAFETY: the size is not zero (see `take`).
        let memory = NonNull::new(unsafe { alloc(layout) }).ok_or_else(out_of_memory)?;
        Ok(Buffer { memory, size })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, which was valid there.
        unsafe { dealloc(self.memory.as_ptr(), Layout::from_size_align_unchecked(self.size, ALIGNMENT)) }
    }
}

/// A buffer taken from a [`Workspace`], put back when dropped. Its content is arbitrary.
pub(crate) struct Lease<'a> {
    buffer: Option<Buffer>,
    home: &'a Workspace,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Workspace { idle: Mutex::new(Vec::with_capacity(KEEP_COUNT)) }
    }

    /// At least `bytes` bytes, aligned to a cache line.
    pub(crate) fn take(&self, bytes: usize) -> Result<Lease<'_>> {
        let size = bytes
            .max(1)
            .checked_next_multiple_of(GRANULE)
            .ok_or_else(|| err!(OutOfMemory, "{bytes} bytes of scratch memory for a product"))?;
        let buffer = match self.take_idle(size) {
            Some(buffer) => buffer,
            None => Buffer::new(size)?,
        };
        Ok(Lease { buffer: Some(buffer), home: self })
    }

    /// The smallest idle buffer that is large enough. If there is none, the largest one is freed to
    /// make room for its successor.
    fn take_idle(&self, size: usize) -> Option<Buffer> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = (0..idle.len()).filter(|&i| idle[i].size >= size).min_by_key(|&i| idle[i].size);
        if let Some(i) = fits {
            return Some(idle.swap_remove(i));
        }
        let largest = (0..idle.len()).max_by_key(|&i| idle[i].size)?;
        drop(idle.swap_remove(largest));
        None
    }
}

impl Lease<'_> {
    /// The start of the memory.
    pub(crate) fn pointer(&self) -> *mut u8 {
        self.buffer.as_ref().map_or(std::ptr::null_mut(), |b| b.memory.as_ptr())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        if buffer.size > KEEP_BYTES {
            return;
        }
        let mut idle = self.home.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEEP_COUNT {
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused() {
        let workspace = Workspace::new();
        let first = workspace.take(100).unwrap().pointer();
        assert_eq!(first as usize % ALIGNMENT, 0);
        let (again, other) = (workspace.take(1).unwrap(), workspace.take(1).unwrap());
        assert_eq!(again.pointer(), first);
        assert_ne!(other.pointer(), first);
        drop((again, other));
        drop(workspace.take(GRANULE + 1).unwrap());
        let sizes: Vec<usize> = workspace.idle.lock().unwrap().iter().map(|b| b.size).collect();
        assert_eq!(sizes, [GRANULE, 2 * GRANULE], "one small buffer made room for the large one");
    }

    // Miri gives up where an allocation fails.
    #[cfg_attr(miri, ignore)]
    #[test]
    fn too_much_is_an_error() {
        let workspace = Workspace::new();
        for bytes in [usize::MAX, isize::MAX as usize, 1 << 60] {
            assert!(matches!(workspace.take(bytes), Err(crate::Error::OutOfMemory(_))), "{bytes}");
        }
    }
}

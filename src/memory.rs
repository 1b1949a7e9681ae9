//! Bytes that are owned, or borrowed from something kept alive (a mapped file).

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::{Result, err};

/// The alignment of every allocation that kernels read or write.
pub const ALIGNMENT: usize = 64;

/// What an empty allocation pretends to point to.
#[repr(align(64))]
struct AlignedUnit;

/// A zeroed allocation aligned to [`ALIGNMENT`]. Failure is an error, never an abort.
#[derive(Debug)]
pub struct AlignedBytes {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a plain allocation with a single owner.
unsafe impl Send for AlignedBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(AlignedBytes { start: NonNull::<AlignedUnit>::dangling().cast(), len });
        }
        let layout = Layout::from_size_align(len, ALIGNMENT)
            .map_err(|_| err!(OutOfMemory, "{len} bytes are more than an allocation can hold"))?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) });
        Ok(AlignedBytes {
            start: start.ok_or_else(|| err!(OutOfMemory, "cannot allocate {len} bytes"))?,
            len,
        })
    }

    /// As [`AlignedBytes::zeroed`], for a size that was computed in 64 bits.
    pub fn zeroed_u64(len: u64) -> Result<Self> {
        Self::zeroed(
            usize::try_from(len).map_err(|_| err!(OutOfMemory, "{len} bytes exceed the address space"))?,
        )
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut copy = Self::zeroed(bytes.len())?;
        copy.as_mut_slice().copy_from_slice(bytes);
        Ok(copy)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` initialised bytes (dangling for none).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// The bytes as `f32` values; the length must be a multiple of four.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        // SAFETY: 64-byte alignment suffices for f32, and every bit pattern is one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len / 4) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `zeroed` with this very layout.
            unsafe {
                dealloc(self.start.as_ptr(), Layout::from_size_align_unchecked(self.len, ALIGNMENT));
            }
        }
    }
}

/// What keeps borrowed bytes alive: a mapping, or a caller's object.
pub type Keeper = Arc<dyn Send + Sync>;

/// Immutable bytes: owned, or a range of something kept alive.
#[derive(Clone)]
pub enum Bytes {
    /// Our own allocation.
    Owned(Arc<AlignedBytes>),
    /// A range inside what the keeper keeps.
    Borrowed(BorrowedBytes),
}

/// A range of memory and what keeps it alive.
#[derive(Clone)]
pub struct BorrowedBytes {
    start: *const u8,
    len: usize,
    keeper: Keeper,
}

// SAFETY: the range is only read, and stays valid while the keeper lives, on any thread.
unsafe impl Send for BorrowedBytes {}
// SAFETY: as above.
unsafe impl Sync for BorrowedBytes {}

impl Bytes {
    /// Takes an allocation over.
    pub fn owned(bytes: AlignedBytes) -> Self {
        Bytes::Owned(Arc::new(bytes))
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        Ok(Self::owned(AlignedBytes::copy_of(bytes)?))
    }

    /// Borrows `bytes`, which live as long as `keeper`.
    ///
    /// # Safety
    /// `bytes` stay valid and unchanged until the last clone of `keeper` is dropped.
    pub unsafe fn borrowed(bytes: &[u8], keeper: Keeper) -> Self {
        Bytes::Borrowed(BorrowedBytes { start: bytes.as_ptr(), len: bytes.len(), keeper })
    }

    /// A range of the bytes, which keeps them all alive.
    ///
    /// # Panics
    /// If the range does not lie inside.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Bytes {
        let part = &self.as_slice()[range];
        let keeper: Keeper = match self {
            Bytes::Owned(bytes) => bytes.clone(),
            Bytes::Borrowed(bytes) => bytes.keeper.clone(),
        };
        Bytes::Borrowed(BorrowedBytes { start: part.as_ptr(), len: part.len(), keeper })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Owned(b) => b.as_slice(),
            // SAFETY: `borrowed` was promised that the range lives as long as the keeper.
            Bytes::Borrowed(b) => unsafe { std::slice::from_raw_parts(b.start, b.len) },
        }
    }
}

/// `f32` values at an address aligned for them.
#[derive(Clone)]
pub struct F32Values(Bytes);

impl F32Values {
    /// Reads little-endian values; copies only if the bytes are not aligned. The length must be a
    /// multiple of four.
    pub fn new(bytes: Bytes) -> Result<Self> {
        let slice = bytes.as_slice();
        if slice.as_ptr().align_offset(4) == 0 || slice.is_empty() {
            return Ok(F32Values(bytes));
        }
        Ok(F32Values(Bytes::copy_of(slice)?))
    }

    /// A copy of `values`.
    pub fn copy_of(values: &[f32]) -> Result<Self> {
        let mut copy = AlignedBytes::zeroed(values.len() * 4)?;
        copy.as_f32_mut().copy_from_slice(values);
        Ok(F32Values(Bytes::owned(copy)))
    }

    /// The values.
    pub fn as_slice(&self) -> &[f32] {
        let bytes = self.0.as_slice();
        if bytes.is_empty() {
            return &[];
        }
        // SAFETY: the constructor checked or made the alignment; every bit pattern is an f32.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / 4) }
    }

    /// A range of the values, which keeps them all alive.
    ///
    /// # Panics
    /// If the range does not lie inside.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        F32Values(self.0.slice(range.start * 4..range.end * 4))
    }

    /// The same as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Miri gives up where an allocation fails.
    #[cfg_attr(miri, ignore)]
    #[test]
    fn allocations_are_aligned_and_fail_with_words() {
        let a = AlignedBytes::zeroed(100).unwrap();
        assert_eq!(a.as_slice().as_ptr().align_offset(ALIGNMENT), 0);
        assert!(AlignedBytes::zeroed(isize::MAX as usize).is_err());
        assert!(AlignedBytes::zeroed_u64(u64::MAX).is_err());
        assert!(AlignedBytes::zeroed(0).unwrap().as_slice().is_empty());
    }

    #[test]
    fn unaligned_values_are_copied() {
        let bytes = AlignedBytes::copy_of(&[0, 0, 0, 128, 63, 0, 0, 0]).unwrap();
        let keeper = Arc::new(bytes);
        // SAFETY: the keeper owns the bytes.
        let odd = unsafe { Bytes::borrowed(&keeper.as_slice()[1..5], keeper.clone()) };
        assert_eq!(F32Values::new(odd).unwrap().as_slice(), [1.0]);
    }
}

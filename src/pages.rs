//! Large allocations straight from the operating system: zeroed without being touched, and in huge
//! pages where it has them. Those take a fraction of the page faults, and reading a weight from them
//! is faster, since the processor finds each address in a smaller table.

use std::ptr::NonNull;

/// The size of a huge page; large allocations are aligned to it. A fact of x86-64, and of aarch64 with
/// pages of 4 KB; anywhere else merely an alignment.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Whether an allocation of so many bytes is made here.
pub(crate) const fn pays(bytes: usize) -> bool {
    cfg!(unix) && bytes >= HUGE_PAGE / 2
}

/// What is mapped for `len` bytes: whole huge pages if they are nearly full, else whole pages.
#[cfg(unix)]
fn mapped_bytes(len: usize) -> Option<usize> {
    let huge = len.checked_next_multiple_of(HUGE_PAGE)?;
    if huge - len <= len / 8 { Some(huge) } else { len.checked_next_multiple_of(page_size()) }
}

/// `len` zero bytes, or `None` if there are not so many.
#[cfg(unix)]
pub(crate) fn map(len: usize) -> Option<NonNull<u8>> {
    let bytes = mapped_bytes(len)?;
    let reserved = bytes.checked_add(HUGE_PAGE)?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), reserved, access, kind, -1, 0) };
    if base == libc::MAP_FAILED {
        return None;
    }
    let base = base.cast::<u8>();
    let start = base.wrapping_add(base.align_offset(HUGE_PAGE));
    let end = start.wrapping_add(bytes);
    // SAFETY: parts of the mapping that nobody knows of; advice changes no content.
    unsafe {
        unmap_range(base, start);
        unmap_range(end, base.wrapping_add(reserved));
        #[cfg(target_os = "linux")]
        libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE);
    }
    NonNull::new(start)
}

/// Gives back what [`map`] gave for the same `len`.
///
/// # Safety
/// Nobody uses the memory any more.
#[cfg(unix)]
pub(crate) unsafe fn unmap(start: NonNull<u8>, len: usize) {
    let end = start.as_ptr().wrapping_add(mapped_bytes(len).unwrap_or(0));
    // SAFETY: the caller's contract; the whole of the mapping.
    unsafe { unmap_range(start.as_ptr(), end) };
}

/// # Safety
/// Nobody uses the range. Both ends are at pages.
#[cfg(unix)]
unsafe fn unmap_range(from: *mut u8, to: *mut u8) {
    if to > from {
        // SAFETY: the caller's contract.
        unsafe { libc::munmap(from.cast(), to as usize - from as usize) };
    }
}

#[cfg(unix)]
fn page_size() -> usize {
    // SAFETY: asks for a constant.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(HUGE_PAGE)
}

#[cfg(not(unix))]
pub(crate) fn map(_: usize) -> Option<NonNull<u8>> {
    None
}

/// # Safety
/// None is needed: nothing was mapped.
#[cfg(not(unix))]
pub(crate) unsafe fn unmap(_: NonNull<u8>, _: usize) {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_zero_aligned_and_end_where_they_should() {
        for len in [HUGE_PAGE / 2, 2 * HUGE_PAGE, 2 * HUGE_PAGE + 1, 5 * HUGE_PAGE - 4097] {
            let start = map(len).unwrap();
            assert_eq!(start.as_ptr() as usize % HUGE_PAGE, 0);
            // SAFETY: mapped above, and not used afterwards.
            unsafe {
                let bytes = std::slice::from_raw_parts_mut(start.as_ptr(), len);
                assert!(bytes.iter().step_by(1000).all(|b| *b == 0));
                bytes[len - 1] = 1;
                unmap(start, len);
            }
        }
        assert!(map(isize::MAX as usize).is_none());
        assert!(map(usize::MAX - 1).is_none());
    }
}

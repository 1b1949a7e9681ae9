//! Stores that go past the caches, for outputs too large to stay in them: they spare the memory
//! the read of every line that is about to be overwritten.

/// Outputs from this size on are streamed.
pub(crate) const STREAM_BYTES: u64 = 4 << 20;

/// Copies `count` bytes with non-temporal stores where the target has them. [`fence`] must follow
/// before another thread may read them.
///
/// # Safety
/// As [`std::ptr::copy_nonoverlapping`].
pub(crate) unsafe fn copy(source: *const u8, target: *mut u8, count: usize) {
    const LINE: usize = 64;
    let head = target.align_offset(LINE).min(count);
    let lines = (count - head) / LINE;
    let tail = head + lines * LINE;
    // SAFETY: head, lines and tail are the whole of `count`.
    unsafe {
        std::ptr::copy_nonoverlapping(source, target, head);
        copy_lines(source.add(head), target.add(head), lines);
        std::ptr::copy_nonoverlapping(source.add(tail), target.add(tail), count - tail);
    }
}

/// # Safety
/// `target` is aligned to 64 bytes; both hold `lines` times 64 bytes.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_lines(source: *const u8, target: *mut u8, lines: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    let (source, target) = (source.cast::<__m128i>(), target.cast::<__m128i>());
    for i in (0..4 * lines).step_by(4) {
        // SAFETY: the caller's contract; SSE2 is part of x86-64.
        unsafe {
            let line: [__m128i; 4] = std::array::from_fn(|j| _mm_loadu_si128(source.add(i + j)));
            line.into_iter().enumerate().for_each(|(j, part)| _mm_stream_si128(target.add(i + j), part));
        }
    }
}

/// # Safety
/// Both hold `lines` times 64 bytes.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_lines(source: *const u8, target: *mut u8, lines: usize) {
    // SAFETY: the caller's contract.
    unsafe { std::ptr::copy_nonoverlapping(source, target, lines * 64) };
}

/// Makes streamed bytes visible before whatever this thread stores next.
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

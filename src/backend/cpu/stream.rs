//! Stores that go past the caches, for outputs too large to stay in them: they spare the memory
//! the read of every line that is about to be overwritten.

/// Whether an output of so many bytes is better streamed: there are such stores, and it would push
/// most of the caches' contents out.
pub(crate) const fn pays(bytes: u64) -> bool {
    cfg!(target_arch = "x86_64") && bytes >= 4 << 20
}

const LINE: usize = 64;

/// Copies `count` bytes with non-temporal stores, if there are any. [`fence`] must follow before
/// another thread may read them.
///
/// # Safety
/// As [`std::ptr::copy_nonoverlapping`].
pub(crate) unsafe fn copy(source: *const u8, target: *mut u8, count: usize) {
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
    unsafe { std::ptr::copy_nonoverlapping(source, target, lines * LINE) };
}

/// Starts to fetch a line; any address will do.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64; a prefetch does not fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Makes streamed bytes visible before whatever this thread stores next.
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// The most bytes that are written to a [`LineWriter`] at a time.
pub(crate) const WRITE_BYTES: usize = 2048;

/// Streams bytes that are produced in pieces, in whole lines whatever the target's alignment: a
/// line written partly past the caches and partly through them costs more than it saves.
#[repr(align(64))]
pub(crate) struct LineWriter {
    buffer: [u8; LINE + WRITE_BYTES],
    /// Where the buffer belongs: the start of a line, at first perhaps before the target.
    line: *mut u8,
    /// The first byte that is the target's.
    start: usize,
    /// The end of the bytes that wait.
    end: usize,
}

impl LineWriter {
    /// Writes to `target` on.
    pub(crate) fn new(target: *mut u8) -> Self {
        let start = target as usize % LINE;
        LineWriter { buffer: [0; LINE + WRITE_BYTES], line: target.wrapping_sub(start), start, end: start }
    }

    /// Room for the next [`WRITE_BYTES`].
    pub(crate) fn room(&mut self) -> *mut u8 {
        self.buffer[self.end..].as_mut_ptr()
    }

    /// Takes the first `count` bytes of the room.
    ///
    /// # Safety
    /// The target has room for them; `count` is at most [`WRITE_BYTES`].
    pub(crate) unsafe fn commit(&mut self, count: usize) {
        self.end += count;
        let lines = self.end / LINE;
        if lines == 0 {
            return;
        }
        let whole = self.start.div_ceil(LINE);
        // SAFETY: the caller's contract; only the first line, if partial, begins before the target.
        unsafe {
            if whole == 1 {
                self.store_partial(LINE);
            }
            let source = self.buffer.as_ptr().add(whole * LINE);
            copy_lines(source, self.line.wrapping_add(whole * LINE), lines - whole);
        }
        self.buffer.copy_within(lines * LINE..(lines + 1) * LINE, 0);
        self.line = self.line.wrapping_add(lines * LINE);
        self.start = 0;
        self.end -= lines * LINE;
    }

    /// Writes what waits, and makes all visible to other threads.
    ///
    /// # Safety
    /// The target is still valid.
    pub(crate) unsafe fn finish(self) {
        // SAFETY: `commit`'s contract held for these bytes.
        unsafe { self.store_partial(self.end) };
        fence();
    }

    /// # Safety
    /// The target has room for the bytes `start..end` of the buffer.
    unsafe fn store_partial(&self, end: usize) {
        let bytes = &self.buffer[self.start..end];
        // SAFETY: the caller's contract.
        unsafe { self.line.wrapping_add(self.start).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

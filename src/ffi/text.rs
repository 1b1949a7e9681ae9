//! Variable-length results into the caller's buffer.

use std::ffi::c_char;

use super::guard::{not_null, write_out};
use crate::error::{Result, err};

/// Writes text and a NUL. `*out_len` gets the length without the NUL, also when the buffer is too
/// small; a NULL buffer of capacity 0 asks for the length only.
///
/// # Safety
/// `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or writable.
pub(super) unsafe fn put_text(
    text: &str,
    buffer: *mut c_char,
    capacity: usize,
    out_len: *mut usize,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { put(text.as_bytes(), 1, buffer.cast(), capacity, out_len) }
}

/// Writes bytes, without a NUL; otherwise as [`put_text`].
///
/// # Safety
/// As for [`put_text`].
pub(super) unsafe fn put_bytes(
    bytes: &[u8],
    buffer: *mut u8,
    capacity: usize,
    out_len: *mut usize,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { put(bytes, 0, buffer, capacity, out_len) }
}

unsafe fn put(bytes: &[u8], nul: usize, buffer: *mut u8, capacity: usize, out_len: *mut usize) -> Result<()> {
    // SAFETY: the caller's promise on `out_len`.
    unsafe { write_out(out_len, bytes.len(), "out_len")? };
    if buffer.is_null() && capacity == 0 {
        return Ok(());
    }
    not_null(buffer, "buffer")?;
    let needed = bytes.len() + nul;
    if capacity < needed {
        return Err(err!(BufferTooSmall, "the buffer has {capacity} bytes, {needed} are needed"));
    }
    // SAFETY: the buffer has `needed` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len());
        if nul == 1 {
            buffer.add(bytes.len()).write(0);
        }
    }
    Ok(())
}

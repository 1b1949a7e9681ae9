//! One way in, one way out: every exported body runs inside `guard`.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::fourbit_status;
use crate::error::{Result, err};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

#[cfg(test)]
thread_local! {
    /// The next body of this thread panics.
    pub(super) static PANIC_NEXT: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs the body of an exported function: an error becomes a status and words, a panic likewise.
pub(super) fn guard(body: impl FnOnce() -> Result<()>) -> fourbit_status {
    #[cfg(test)]
    let body = || if PANIC_NEXT.take() { panic!("injected") } else { body() };
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => fourbit_status::Ok,
        Ok(Err(error)) => record((&error).into(), &error.to_string()),
        Err(payload) => record(fourbit_status::Panic, &panic_text(payload)),
    }
}

fn record(status: fourbit_status, words: &str) -> fourbit_status {
    let words = CString::new(words.replace('\0', "\u{fffd}")).unwrap_or_default();
    // During thread teardown the slot may be gone; the status still tells.
    let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = words);
    status
}

pub(super) fn last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let words = match payload.downcast_ref::<&str>() {
        Some(words) => (*words).to_owned(),
        None => payload.downcast_ref::<String>().cloned().unwrap_or_default(),
    };
    // The payload's own destructor could panic; leaking it is the lesser evil.
    std::mem::forget(payload);
    format!("internal error, a bug in fourbit: {words}")
}

/// A required pointer.
pub(super) fn not_null<T>(pointer: *const T, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(err!(InvalidArgument, "{name} must not be NULL"));
    }
    Ok(())
}

/// Writes a result through a required pointer.
///
/// # Safety
/// `out` is NULL or valid for a write.
pub(super) unsafe fn write_out<T>(out: *mut T, value: T, name: &str) -> Result<()> {
    not_null(out, name)?;
    // SAFETY: not NULL, and the caller's promise.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// A required NUL-terminated UTF-8 string.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that lives for `'a`.
pub(super) unsafe fn c_str<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    not_null(text, name)?;
    // SAFETY: not NULL, and the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| err!(InvalidArgument, "{name} is not valid UTF-8"))
}

/// A required byte range; NULL is allowed for zero bytes.
///
/// # Safety
/// `data` is NULL or readable for `len` bytes during `'a`.
pub(super) unsafe fn byte_slice<'a>(data: *const u8, len: usize, name: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    not_null(data, name)?;
    if len > isize::MAX as usize {
        return Err(err!(InvalidArgument, "{name}: length {len} exceeds the address space"));
    }
    // SAFETY: not NULL, and the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> String {
        // SAFETY: `last_error` points to this thread's text, which no call changes meanwhile.
        unsafe { CStr::from_ptr(last_error()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn a_panic_is_a_status_with_words_and_the_thread_goes_on() {
        let status = guard(|| panic!("index {} of {}", 7, 3));
        assert_eq!(status, fourbit_status::Panic);
        assert!(words().contains("index 7 of 3"), "{}", words());
        assert_eq!(guard(|| std::panic::panic_any(42)), fourbit_status::Panic);
        assert_eq!(guard(|| Ok(())), fourbit_status::Ok);
    }

    #[test]
    fn an_error_is_its_status_and_words_stay_until_the_next_failure() {
        assert_eq!(guard(|| Err(err!(NotFound, "no tensor named \"x\\0y\""))), fourbit_status::NotFound);
        assert!(words().starts_with("no tensor"));
        assert_eq!(guard(|| Ok(())), fourbit_status::Ok);
        assert!(words().starts_with("no tensor"), "success must not clear the words");
        assert_eq!(guard(|| Err(err!(Format, "nul \0 inside"))), fourbit_status::Format);
        assert!(words().ends_with("inside"), "a NUL must not cut the words");
    }
}

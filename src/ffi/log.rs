use std::ffi::{CString, c_char, c_void};
use std::sync::RwLock;

use super::guard::guard;
use super::status::fourbit_status;
use crate::log;

/// How important a message is; a lower number is more important.
#[repr(u32)]
pub enum fourbit_log_level {
    /// Nothing.
    Off = 0,
    /// Something is likely not as the caller wishes: what a plan has to say, more threads than
    /// processors, a copy in every call.
    Warning = 1,
    /// What was opened, chosen or finished: a context with its instruction set and threads, a
    /// checkpoint, a plan.
    Info = 2,
    /// Steps of long operations: each file of a checkpoint that is written.
    Debug = 3,
}

/// Receives a message. `text` is valid during the call only. May be called from any thread, also
/// from several at once; must not call the library.
pub type fourbit_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, level: u32, text: *const c_char)>;

struct Sink {
    function: unsafe extern "C" fn(*mut c_void, u32, *const c_char),
    user: *mut c_void,
}

// SAFETY: the caller of `fourbit_set_log` promised that the callback may run on any thread.
unsafe impl Send for Sink {}
// SAFETY: as above, from several threads at once.
unsafe impl Sync for Sink {}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// Sends messages up to `max_level` (a fourbit_log_level) to `fn`; NULL turns logging off. One
/// per process. When it returns, the previous function is not running and will not run again.
/// The library never prints. Products send nothing but a few warnings; what could be said in every
/// call is said a few times.
///
/// # Safety
/// `fn` and `user` stay valid until replaced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_set_log(
    r#fn: fourbit_log_fn,
    user: *mut c_void,
    max_level: u32,
) -> fourbit_status {
    guard(|| {
        let mut sink = SINK.write().unwrap_or_else(|e| e.into_inner());
        *sink = r#fn.map(|function| Sink { function, user });
        log::set_sink(if sink.is_some() { max_level } else { 0 }, deliver);
        Ok(())
    })
}

fn deliver(level: log::Level, text: &str) {
    let sink = SINK.read().unwrap_or_else(|e| e.into_inner());
    if let (Some(sink), Ok(text)) = (&*sink, CString::new(text)) {
        // SAFETY: the caller of `fourbit_set_log` vouches for both until they are replaced, which
        // waits for the read lock.
        unsafe { (sink.function)(sink.user, level as u32, text.as_ptr()) };
    }
}

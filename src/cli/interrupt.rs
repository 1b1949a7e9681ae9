//! Ctrl-C and a request to terminate: the work in hand is given up in good order. A second one
//! ends the program at once.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU8, Ordering};

/// The signal that came; 0: none.
static SIGNAL: AtomicU8 = AtomicU8::new(0);

/// From now on `SIGINT` and `SIGTERM` are noted instead of ending the program.
#[cfg(unix)]
pub(crate) fn listen() {
    extern "C" fn note(signal: libc::c_int) {
        SIGNAL.store(signal as u8, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler: extern "C" fn(libc::c_int) = note;
        // SAFETY: zero is a valid sigaction, filled in below; the handler only stores to an atomic,
        // which a signal handler may do. SA_RESETHAND makes the second signal act as usual.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &action, &mut before);
            // Who starts a program with the signal ignored (nohup, a shell's &) wants that to stay.
            if before.sa_sigaction == libc::SIG_IGN {
                libc::sigaction(signal, &before, std::ptr::null_mut());
            }
        }
    }
}

/// Elsewhere the system ends the program; temporary files stay until the next run.
#[cfg(not(unix))]
pub(crate) fn listen() {}

/// The signal that came.
pub(crate) fn signal() -> Option<u8> {
    Some(SIGNAL.load(Ordering::Relaxed)).filter(|&s| s != 0)
}

/// What a progress function answers.
pub(crate) fn go_on() -> ControlFlow<()> {
    match signal() {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    }
}

//! Messages for whoever asked for them. Nothing is ever printed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, RwLock};

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is likely not as the caller wishes.
    Warning = 1,
    /// Choices made once.
    Info = 2,
    /// Steps of long operations.
    Debug = 3,
}

/// Receives messages; may be called from several threads at once.
pub type Sink = fn(Level, &str);

static MAX_LEVEL: AtomicU32 = AtomicU32::new(0);

fn sink() -> &'static RwLock<Option<Sink>> {
    static SINK: OnceLock<RwLock<Option<Sink>>> = OnceLock::new();
    SINK.get_or_init(RwLock::default)
}

/// Sends messages up to `max_level` to `to`; 0 turns logging off.
pub fn set_sink(max_level: u32, to: Sink) {
    *sink().write().unwrap_or_else(|e| e.into_inner()) = Some(to);
    MAX_LEVEL.store(max_level, Ordering::Release);
}

/// Sends a message, which is only made if somebody listens.
pub fn log(level: Level, text: impl FnOnce() -> String) {
    if level as u32 > MAX_LEVEL.load(Ordering::Acquire) {
        return;
    }
    let to = *sink().read().unwrap_or_else(|e| e.into_inner());
    if let Some(to) = to {
        to(level, &text());
    }
}

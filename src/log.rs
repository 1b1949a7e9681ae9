//! Messages for whoever asked for them. Nothing is ever printed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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
/// How many times a sink was set: limits start anew for each.
static SINKS: AtomicU32 = AtomicU32::new(0);

fn sink() -> &'static RwLock<Option<Sink>> {
    static SINK: OnceLock<RwLock<Option<Sink>>> = OnceLock::new();
    SINK.get_or_init(RwLock::default)
}

/// Sends messages up to `max_level` to `to`; 0 turns logging off.
pub fn set_sink(max_level: u32, to: Sink) {
    *sink().write().unwrap_or_else(|e| e.into_inner()) = Some(to);
    SINKS.fetch_add(1, Ordering::Relaxed);
    MAX_LEVEL.store(max_level, Ordering::Release);
}

/// Whether a message of that level would be heard.
fn is_heard(level: Level) -> bool {
    level as u32 <= MAX_LEVEL.load(Ordering::Acquire)
}

/// Sends a message, which is only made if somebody listens.
pub fn log(level: Level, text: impl FnOnce() -> String) {
    if !is_heard(level) {
        return;
    }
    let to = *sink().read().unwrap_or_else(|e| e.into_inner());
    if let Some(to) = to {
        to(level, &text());
    }
}

/// Keeps something that may happen in every call from filling a log: what it sends counts, and after
/// `most` messages to one sink there are no more.
pub(crate) struct Limit {
    most: u32,
    /// The number of the sink, then how many messages it got.
    sent: AtomicU64,
}

impl Limit {
    pub(crate) const fn new(most: u32) -> Self {
        Limit { most, sent: AtomicU64::new(0) }
    }

    /// As [`log`], unless that is too much. The last message says that it is the last.
    pub(crate) fn log(&self, level: Level, text: impl FnOnce() -> String) {
        if !is_heard(level) {
            return;
        }
        match self.count() {
            n if n < self.most => log(level, text),
            n if n == self.most => {
                log(level, || format!("{} (no more messages of this kind follow)", text()))
            }
            _ => {}
        }
    }

    /// Which message to the present sink this one is; from 1.
    fn count(&self) -> u32 {
        let sink = u64::from(SINKS.load(Ordering::Relaxed)) << 32;
        let next = |sent: u64| {
            let count = if sent & !0xffff_ffff == sink { sent as u32 } else { 0 };
            Some(sink | u64::from(count.saturating_add(1)))
        };
        let before = self.sent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.ok().and_then(next).map_or(u32::MAX, |sent| sent as u32)
    }
}

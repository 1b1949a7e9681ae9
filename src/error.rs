//! One error type. Its kind maps one to one to a C status; its words name what is at fault.

use std::path::{Path, PathBuf};

/// What went wrong. Every variant carries words for a person: the file, tensor, field and value
/// at fault, and what would be accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value is out of its range, or a required one is missing.
    #[error("{0}")]
    InvalidArgument(String),
    /// Not a live handle of the expected type.
    #[error("{0}")]
    InvalidHandle(String),
    /// Shapes do not fit each other.
    #[error("{0}")]
    ShapeMismatch(String),
    /// An element type that the operation does not take.
    #[error("{0}")]
    DtypeUnsupported(String),
    /// Data lives on another device than the context.
    #[error("{0}")]
    DeviceMismatch(String),
    /// No such device, or no driver for it.
    #[error("{0}")]
    DeviceUnavailable(String),
    /// The device reported an error.
    #[error("{0}")]
    DeviceError(String),
    /// Memory could not be allocated.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The operating system refused a file operation.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done, as a verb phrase ("cannot open").
        action: &'static str,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file or a serialized object is malformed.
    #[error("{0}")]
    Format(String),
    /// No entry of that name.
    #[error("{0}")]
    NotFound(String),
    /// The caller's buffer is too small.
    #[error("{0}")]
    BufferTooSmall(String),
    /// Not built in, or not supported by this version.
    #[error("{0}")]
    Unsupported(String),
    /// The call is not allowed in this state.
    #[error("{0}")]
    InvalidState(String),
    /// A callback asked to stop.
    #[error("{0}")]
    Cancelled(String),
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An I/O error with the file and the action that failed.
    pub fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { path: path.to_owned(), action, source }
    }

    /// The same error with `place: ` put before its words (a file or tensor name).
    #[must_use]
    pub fn in_place(self, place: impl std::fmt::Display) -> Self {
        use Error::*;
        match self {
            InvalidArgument(s) => InvalidArgument(format!("{place}: {s}")),
            ShapeMismatch(s) => ShapeMismatch(format!("{place}: {s}")),
            DtypeUnsupported(s) => DtypeUnsupported(format!("{place}: {s}")),
            Format(s) => Format(format!("{place}: {s}")),
            NotFound(s) => NotFound(format!("{place}: {s}")),
            Unsupported(s) => Unsupported(format!("{place}: {s}")),
            OutOfMemory(s) => OutOfMemory(format!("{place}: {s}")),
            other => other,
        }
    }
}

macro_rules! err {
    ($kind:ident, $($arg:tt)*) => { $crate::error::Error::$kind(format!($($arg)*)) };
}
pub(crate) use err;

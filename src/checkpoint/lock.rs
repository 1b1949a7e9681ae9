//! Locks that keep two processes from working on the same output.

use std::fs::{File, TryLockError};
use std::path::Path;

/// Who else may hold a lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody.
    Alone,
    /// Others that share as well.
    Shared,
}

/// Takes the lock unless another process has it. It ends with the process or when the file is
/// closed. A file system that knows no locks lets everybody in.
pub(super) fn try_lock(file: &File, sharing: Sharing) -> bool {
    let locked = match sharing {
        Sharing::Alone => file.try_lock(),
        Sharing::Shared => file.try_lock_shared(),
    };
    !matches!(locked, Err(TryLockError::WouldBlock))
}

/// Whether `path` still leads to this very file.
#[cfg(unix)]
pub(super) fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// An open file cannot be replaced here.
#[cfg(not(unix))]
pub(super) fn is_still_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

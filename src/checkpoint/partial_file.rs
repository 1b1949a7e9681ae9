//! A file that grows under a temporary name and appears under its final one when it is whole.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::lock::{Sharing, is_still_at, try_lock};
use super::positioned;
use crate::error::{Error, Result, err};

/// The end of a temporary name; the start is a dot.
const SUFFIX: &str = ".partial";

/// Whether a file name is one that [`PartialFile`] uses while it writes.
pub(super) fn is_partial_name(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(SUFFIX)
}

/// A file of known length, written at offsets by any number of threads. Dropped before
/// [`publish`](Self::publish), it is removed. It is locked while it is written, so that of two
/// processes that write the same file the second is refused.
#[derive(Debug)]
pub(super) struct PartialFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    len: u64,
    written: AtomicU64,
    published: AtomicBool,
}

impl PartialFile {
    /// Creates the file at its full length. A leftover of an earlier, killed run is replaced.
    pub fn create(directory: &Path, name: &str, len: u64) -> Result<PartialFile> {
        let partial = directory.join(format!(".{name}{SUFFIX}"));
        remove_leftover(&partial)?;
        // A name that exists after all, a link included, is never written through.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&partial)
            .map_err(|e| Error::io(&partial, "cannot create", e))?;
        // Between these two calls another process may have taken the file for a leftover.
        if !try_lock(&file, Sharing::Alone) || !is_still_at(&file, &partial) {
            return Err(in_use(&partial));
        }
        let target = directory.join(name);
        let written = AtomicU64::new(0);
        let created = PartialFile { file, partial, target, len, written, published: AtomicBool::new(false) };
        positioned::reserve(&created.file, len).map_err(|e| created.io("cannot reserve disk space", e))?;
        Ok(created)
    }

    /// Where the file will appear.
    pub fn final_path(&self) -> &Path {
        &self.target
    }

    /// Writes `data`. Returns whether these were the last bytes that the file lacked, which is so
    /// for one call only.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<bool> {
        if data.is_empty() {
            return Ok(false);
        }
        positioned::write_all_at(&self.file, data, offset).map_err(|e| self.io("cannot write", e))?;
        // Acquire and release: whoever counts the last byte comes after all the others' writes.
        let before = self.written.fetch_add(data.len() as u64, Ordering::AcqRel);
        Ok(before + data.len() as u64 == self.len)
    }

    /// Brings the data to disk. It is an error if not all of it has been written.
    pub fn sync(&self) -> Result<()> {
        let written = self.written.load(Ordering::Relaxed);
        if written != self.len {
            return Err(err!(
                InvalidState,
                "{}: {written} of {} bytes were written",
                self.target.display(),
                self.len
            ));
        }
        self.file.sync_all().map_err(|e| self.io("cannot bring to disk", e))
    }

    /// Gives the synced file its final name, in place of an earlier file of that name.
    pub fn publish(&self) -> Result<PathBuf> {
        std::fs::rename(&self.partial, &self.target)
            .map_err(|e| self.io("cannot rename to its final name", e))?;
        self.published.store(true, Ordering::Relaxed);
        Ok(self.target.clone())
    }

    /// Whether the file has its final name.
    pub fn is_published(&self) -> bool {
        self.published.load(Ordering::Relaxed)
    }

    fn io(&self, action: &'static str, error: std::io::Error) -> Error {
        Error::io(&self.target, action, error)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_published() {
            // Nothing more can be done about a failure here: the name says that it is a leftover.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// Removes what a killed run left under a temporary name.
pub(super) fn remove_leftover(partial: &Path) -> Result<()> {
    let is_file = std::fs::symlink_metadata(partial).is_ok_and(|m| m.is_file());
    // Held until the file is removed: nobody else takes it in between.
    let leftover = if is_file { File::open(partial).ok() } else { None };
    if let Some(file) = &leftover
        && !try_lock(file, Sharing::Alone)
    {
        return Err(in_use(partial));
    }
    match std::fs::remove_file(partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(partial, "cannot remove", e)),
        _ => Ok(()),
    }
}

fn in_use(partial: &Path) -> Error {
    err!(InvalidState, "{}: another process is writing this file", partial.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_writers_the_second_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let first = PartialFile::create(directory.path(), "a", 2).unwrap();
        let error = PartialFile::create(directory.path(), "a", 2).unwrap_err();
        assert!(error.to_string().contains("another process is writing this file"), "{error}");
        assert_eq!([first.write_at(0, b"x").unwrap(), first.write_at(1, b"y").unwrap()], [false, true]);
        first.publish().unwrap();
        drop(first);
        assert_eq!(std::fs::read(directory.path().join("a")).unwrap(), b"xy");
        drop(PartialFile::create(directory.path(), "a", 2).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

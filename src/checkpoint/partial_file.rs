//! A file that grows under a temporary name and appears under its final one when it is whole.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::positioned;
use crate::error::{Error, Result, err};

/// The end of a temporary name; the start is a dot.
const SUFFIX: &str = ".partial";

/// Whether a file name is one that [`PartialFile`] uses while it writes.
pub(super) fn is_partial_name(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(SUFFIX)
}

/// A file of known length, written at offsets by any number of threads. Dropped before
/// [`publish`](Self::publish), it is removed.
#[derive(Debug)]
pub(super) struct PartialFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    len: u64,
    written: AtomicU64,
    published: bool,
}

impl PartialFile {
    /// Creates the file at its full length. A leftover of an earlier, killed run is replaced.
    pub fn create(directory: &Path, name: &str, len: u64) -> Result<PartialFile> {
        let partial = directory.join(format!(".{name}{SUFFIX}"));
        match std::fs::remove_file(&partial) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&partial, "cannot remove", e));
            }
            _ => {}
        }
        // A name that exists after all, a link included, is never written through.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&partial)
            .map_err(|e| Error::io(&partial, "cannot create", e))?;
        let target = directory.join(name);
        let created =
            PartialFile { file, partial, target, len, written: AtomicU64::new(0), published: false };
        positioned::reserve(&created.file, len).map_err(|e| created.io("cannot reserve disk space", e))?;
        Ok(created)
    }

    /// Where the file will appear.
    pub fn final_path(&self) -> &Path {
        &self.target
    }

    /// The final name.
    pub fn file_name(&self) -> String {
        self.target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        positioned::write_all_at(&self.file, data, offset).map_err(|e| self.io("cannot write", e))?;
        self.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
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
    pub fn publish(mut self) -> Result<PathBuf> {
        std::fs::rename(&self.partial, &self.target)
            .map_err(|e| self.io("cannot rename to its final name", e))?;
        self.published = true;
        Ok(self.target.clone())
    }

    fn io(&self, action: &'static str, error: std::io::Error) -> Error {
        Error::io(&self.target, action, error)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done about a failure here: the name says that it is a leftover.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

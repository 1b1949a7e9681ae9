//! One safetensors file, open for reading.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use memmap2::Mmap;

use super::header::{Header, PREFIX_BYTES, check_prefix, too_short};
use super::positioned;
use crate::error::{Error, Result, err};

/// A safetensors file whose header has been checked. The file stays open; it is mapped when bytes
/// are first asked for in place.
#[derive(Debug)]
pub struct ShardFile {
    path: PathBuf,
    file: File,
    len: u64,
    modified: Option<SystemTime>,
    mapping: OnceLock<Arc<Mapping>>,
}

/// A whole file mapped read-only. Views into it keep it alive by holding the `Arc`.
///
/// If another process cuts the file short while it is mapped, touching the lost pages raises
/// `SIGBUS`, as with any mapped file. [`ShardFile::read_at`] has no such hazard and is what the
/// whole-checkpoint operations use.
#[derive(Debug)]
pub struct Mapping {
    map: Mmap,
}

impl Deref for Mapping {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl ShardFile {
    /// Opens a regular file (or a link to one) and checks its header.
    pub fn open(path: &Path) -> Result<(ShardFile, Header)> {
        // Asked before opening: opening a pipe would wait for its writer.
        let kind = std::fs::metadata(path).map_err(|e| Error::io(path, "cannot open", e))?;
        if !kind.is_file() {
            return Err(err!(Format, "{}: not a regular file", path.display()));
        }
        let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
        let stat = file.metadata().map_err(|e| Error::io(path, "cannot read its size", e))?;
        let shard = ShardFile {
            path: path.to_owned(),
            file,
            len: stat.len(),
            modified: stat.modified().ok(),
            mapping: OnceLock::new(),
        };
        let header = shard.read_header().map_err(|e| e.in_place(path.display()))?;
        Ok((shard, header))
    }

    fn read_header(&self) -> Result<Header> {
        if self.len < PREFIX_BYTES {
            return Err(too_short(self.len));
        }
        let mut prefix = [0; PREFIX_BYTES as usize];
        self.read_at(0, &mut prefix)?;
        let len = check_prefix(prefix, self.len)?;
        // At most MAX_HEADER_BYTES, and no more than the file holds.
        let mut json = vec![0; len as usize];
        self.read_at(PREFIX_BYTES, &mut json)?;
        Header::parse(&json, self.len)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the file when it was opened, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no bytes; never, since a header was read from it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies bytes out. A file that was cut short since it was opened is an error.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        positioned::read_exact_at(&self.file, buffer, offset).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => err!(
                Format,
                "{}: cut short since it was opened: bytes {offset} to {} of {} are gone",
                self.path.display(),
                offset + buffer.len() as u64,
                self.len
            ),
            _ => Error::io(&self.path, "cannot read", e),
        })
    }

    /// The mapped file.
    pub fn mapping(&self) -> Result<&Arc<Mapping>> {
        if let Some(mapping) = self.mapping.get() {
            return Ok(mapping);
        }
        self.check_unchanged()?;
        // SAFETY: the map is read-only and private to this process. That no other process changes
        // the file meanwhile cannot be enforced; `Mapping` states what happens then.
        let map = unsafe { Mmap::map(&self.file) }.map_err(|e| Error::io(&self.path, "cannot map", e))?;
        if map.len() as u64 != self.len {
            return Err(self.changed());
        }
        Ok(self.mapping.get_or_init(|| Arc::new(Mapping { map })))
    }

    /// Mapped bytes; `range` comes from the checked header.
    pub(super) fn bytes(&self, range: &Range<u64>) -> Result<&[u8]> {
        Ok(&self.mapping()?[range.start as usize..range.end as usize])
    }

    /// An error if the file's length or modification time is no longer what it was when opened.
    pub fn check_unchanged(&self) -> Result<()> {
        let stat = self.file.metadata().map_err(|e| Error::io(&self.path, "cannot read its size", e))?;
        if stat.len() != self.len || stat.modified().ok() != self.modified {
            return Err(self.changed());
        }
        Ok(())
    }

    /// When the file was last changed before it was opened, in nanoseconds since 1970.
    pub(super) fn modified_nanos(&self) -> Option<u64> {
        let since = self.modified?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok()
    }

    fn changed(&self) -> Error {
        err!(
            InvalidState,
            "{}: the file was changed since it was opened: open the checkpoint again",
            self.path.display()
        )
    }
}

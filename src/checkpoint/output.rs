//! The directory a checkpoint is written to, and the files that go beside the weights.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::partial_file::{PartialFile, is_partial_name, remove_leftover};
use super::{INDEX_FILE, JOB_FILE, SINGLE_FILE};
use crate::error::{Error, Result, err};

/// A directory that may be written to.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    created: bool,
}

impl OutputDirectory {
    /// Creates the directory if need be. It must not be `source`, and must be empty unless `force`
    /// is set; with `force` an earlier checkpoint in it is replaced once the new one is whole.
    pub fn prepare(path: &Path, source: Option<&Path>, force: bool) -> Result<OutputDirectory> {
        let output = Self::open(path, source)?;
        if !force {
            output.check_empty()?;
        }
        Ok(output)
    }

    /// The same, whatever it holds.
    pub(super) fn open(path: &Path, source: Option<&Path>) -> Result<OutputDirectory> {
        let created = match std::fs::metadata(path) {
            Ok(kind) if !kind.is_dir() => {
                return Err(err!(InvalidArgument, "{}: the output must be a directory", path.display()));
            }
            Ok(_) => false,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(path).map_err(|e| Error::io(path, "cannot create", e))?;
                true
            }
            Err(e) => return Err(Error::io(path, "cannot open", e)),
        };
        let output = OutputDirectory { path: path.to_owned(), created };
        if let Some(source) = source {
            let real = |p: &Path| std::fs::canonicalize(p).map_err(|e| Error::io(p, "cannot resolve", e));
            if real(path)? == real(source)? {
                return Err(err!(
                    InvalidArgument,
                    "{}: the output must not be the directory of the source",
                    path.display()
                ));
            }
        }
        Ok(output)
    }

    /// An error if the directory holds anything but temporary files.
    pub(super) fn check_empty(&self) -> Result<()> {
        let names = self.names()?;
        if names.iter().any(|n| n == JOB_FILE) {
            return Err(self.unfinished());
        }
        match names.into_iter().find(|n| !is_partial_name(n)) {
            None => Ok(()),
            Some(name) => Err(err!(
                InvalidArgument,
                "{}: holds {name} already: choose an empty directory, or ask to overwrite (force)",
                self.path.display()
            )),
        }
    }

    /// What there is to say about a job file that was not expected.
    pub(super) fn unfinished(&self) -> Error {
        err!(
            InvalidArgument,
            "{}: holds an unfinished conversion ({JOB_FILE}): ask to continue it (--resume), or to start over (--force)",
            self.path.display()
        )
    }

    /// Whether an earlier checkpoint, or a part of one, is in the directory.
    pub(super) fn has_weights(&self) -> Result<bool> {
        Ok(self.names()?.iter().any(|n| is_weight_name(n)))
    }

    /// Whether that checkpoint can be loaded.
    pub(super) fn is_complete(&self) -> bool {
        [SINGLE_FILE, INDEX_FILE].iter().any(|name| self.path.join(name).exists())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Result<Vec<String>> {
        let list = std::fs::read_dir(&self.path).map_err(|e| Error::io(&self.path, "cannot list", e))?;
        let mut names = Vec::new();
        for entry in list {
            let entry = entry.map_err(|e| Error::io(&self.path, "cannot list", e))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, "cannot remove", e)),
            _ => Ok(()),
        }
    }

    /// Removes weights and index of an earlier checkpoint, all but the files named, and what killed
    /// runs left. A left-over `model.safetensors` would win over a new index.
    pub(super) fn remove_stale(&self, keep: &[String]) -> Result<()> {
        let keep: HashSet<&str> = keep.iter().map(String::as_str).collect();
        for name in self.names()? {
            if is_weight_name(&name) && !keep.contains(name.as_str()) {
                self.remove(&name)?;
            } else if is_partial_name(&name) {
                // One that another process has locked is no leftover; none of them does any harm.
                let _ = remove_leftover(&self.path.join(&name));
            }
        }
        Ok(())
    }

    /// Writes the index, which makes a sharded checkpoint complete.
    pub(super) fn write_index(&self, text: &str) -> Result<PathBuf> {
        let content = SideContent::Text(text.to_owned());
        SideFile { name: INDEX_FILE.to_owned(), content }.write_into(&self.path)
    }

    /// Makes the new names durable.
    pub(super) fn finish(mut self) -> Result<()> {
        self.created = false;
        sync_directory(&self.path)
    }
}

impl Drop for OutputDirectory {
    fn drop(&mut self) {
        if self.created {
            // Succeeds only if nothing was left in it.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// `model.safetensors`, its index, or `model-00001-of-00002.safetensors`.
fn is_weight_name(name: &str) -> bool {
    if name == SINGLE_FILE || name == INDEX_FILE {
        return true;
    }
    let numbers = name.strip_prefix("model-").and_then(|n| n.strip_suffix(".safetensors"));
    let is_number = |s: &str| s.len() >= 5 && s.bytes().all(|b| b.is_ascii_digit());
    numbers.and_then(|n| n.split_once("-of-")).is_some_and(|(a, b)| is_number(a) && is_number(b))
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> Result<()> {
    let directory = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
    directory.sync_all().map_err(|e| Error::io(path, "cannot bring to disk", e))
}

/// Windows has no such call: renames are durable there when the volume says so.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> Result<()> {
    Ok(())
}

/// A file to be put beside the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFile {
    /// Its name in the output directory.
    pub name: String,
    /// Where its content comes from.
    pub content: SideContent,
}

/// The content of a [`SideFile`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideContent {
    /// This text.
    Text(String),
    /// A copy of this file.
    CopyOf(PathBuf),
}

impl SideFile {
    pub(super) fn write_into(&self, directory: &Path) -> Result<PathBuf> {
        let file = match &self.content {
            SideContent::Text(text) => {
                let file = PartialFile::create(directory, &self.name, text.len() as u64)?;
                file.write_at(0, text.as_bytes())?;
                file
            }
            SideContent::CopyOf(source) => copy(directory, &self.name, source)?,
        };
        file.sync()?;
        file.publish()
    }
}

/// Writes a text file that appears under its name when it is whole. One that exists is refused unless
/// `force` is set.
pub fn write_text(path: &Path, text: &str, force: bool) -> Result<()> {
    let name = path.file_name().and_then(OsStr::to_str);
    let name = name.ok_or_else(|| err!(InvalidArgument, "{}: not the name of a file", path.display()))?;
    check_replaceable(path, force)?;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let content = SideContent::Text(text.to_owned());
    SideFile { name: name.to_owned(), content }.write_into(directory)?;
    sync_directory(directory)
}

/// An error if [`write_text`] would refuse this path.
pub fn check_replaceable(path: &Path, force: bool) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(err!(InvalidArgument, "{}: is a directory, expected the name of a file", path.display()))
        }
        Ok(_) if !force => Err(err!(
            InvalidArgument,
            "{}: exists already: choose another name, or ask to overwrite (--force)",
            path.display()
        )),
        _ => Ok(()),
    }
}

fn copy(directory: &Path, name: &str, source: &Path) -> Result<PartialFile> {
    use std::io::Read as _;
    let failed = |e| Error::io(source, "cannot read", e);
    let mut reader = File::open(source).map_err(failed)?;
    let len = reader.metadata().map_err(failed)?.len();
    let file = PartialFile::create(directory, name, len)?;
    let mut buffer = vec![0; 64 << 10];
    let mut offset = 0;
    // Never past the length that was reserved: a file that grows meanwhile is cut, one that
    // shrinks is found out by `sync`.
    while offset < len {
        let most = buffer.len().min((len - offset) as usize);
        match reader.read(&mut buffer[..most]).map_err(failed)? {
            0 => break,
            n => {
                file.write_at(offset, &buffer[..n])?;
                offset += n as u64;
            }
        }
    }
    Ok(file)
}

/// The files beside the weights that a copy of the model needs: tokenizer, vocabulary, generation
/// config, chat template, code, licence, read-me. Neither weights in any format nor `config.json`
/// (which the caller writes anew), nothing hidden, no directories; links are followed, since
/// download caches consist of them. In the order of their names.
pub fn side_files(source: &Path) -> Result<Vec<SideFile>> {
    let list = std::fs::read_dir(source).map_err(|e| Error::io(source, "cannot list", e))?;
    let mut files = Vec::new();
    for entry in list {
        let entry = entry.map_err(|e| Error::io(source, "cannot list", e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if is_side_name(&name) && std::fs::metadata(&path).is_ok_and(|m| m.is_file()) {
            files.push(SideFile { name, content: SideContent::CopyOf(path) });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn is_side_name(name: &str) -> bool {
    if name.starts_with('.') || matches!(name, "config.json" | JOB_FILE) || name.ends_with(".index.json") {
        return false;
    }
    let extension = Path::new(name).extension().and_then(OsStr::to_str).unwrap_or("");
    match extension {
        "safetensors" | "bin" | "h5" | "msgpack" | "gguf" | "pt" | "pth" | "ckpt" | "onnx" | "ot" => false,
        "json" | "model" | "txt" | "jinja" | "py" | "md" | "tiktoken" | "vocab" | "spm" => true,
        _ => ["tokenizer", "vocab", "merges", "LICENSE", "LICENCE", "README", "NOTICE", "USE_POLICY"]
            .iter()
            .any(|start| name.starts_with(start)),
    }
}

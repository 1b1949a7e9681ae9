//! From a path to the files of a checkpoint.

use std::path::{Path, PathBuf};

use super::index::Index;
use super::limits::MAX_INDEX_BYTES;
use crate::error::{Error, Result, err};

/// The name of an unsharded checkpoint.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The name of the index of a sharded one.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Where a checkpoint's parts are.
#[derive(Debug)]
pub(super) struct Located {
    /// The directory that holds `config.json` and the shards.
    pub directory: PathBuf,
    /// The index and its path; without one there is a single file.
    pub index: Option<(PathBuf, Index)>,
    /// The files, in the order of their names.
    pub files: Vec<PathBuf>,
}

/// Takes a directory, an index or one `.safetensors` file. In a directory `model.safetensors` wins
/// over an index, as it does in transformers.
pub(super) fn locate(path: &Path) -> Result<Located> {
    let kind = std::fs::metadata(path).map_err(|e| Error::io(path, "cannot open the checkpoint", e))?;
    if kind.is_dir() {
        let single = path.join(SINGLE_FILE);
        let index = path.join(INDEX_FILE);
        return match (exists(&single), exists(&index)) {
            (true, _) => Ok(Located { directory: path.to_owned(), index: None, files: vec![single] }),
            (false, true) => with_index(&index),
            (false, false) => Err(nothing_found(path)),
        };
    }
    match path.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => {
            Ok(Located { directory: parent(path), index: None, files: vec![path.to_owned()] })
        }
        Some("json") => with_index(path),
        Some("bin" | "pt" | "pth" | "h5" | "msgpack" | "gguf") => {
            Err(other_format(path, &file_name(path)).unwrap_or_else(|| unknown_kind(path)))
        }
        _ => Err(unknown_kind(path)),
    }
}

fn unknown_kind(path: &Path) -> Error {
    err!(
        InvalidArgument,
        "{}: expected a model directory, a {INDEX_FILE} or a .safetensors file",
        path.display()
    )
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn with_index(path: &Path) -> Result<Located> {
    let text = read_text(path, MAX_INDEX_BYTES)?;
    let index = Index::parse(&text).map_err(|e| e.in_place(path.display()))?;
    let directory = parent(path);
    let files: Vec<PathBuf> = index.files.iter().map(|f| directory.join(f)).collect();
    if files.is_empty() {
        return Err(err!(Format, "{}: field weight_map: names no files", path.display()));
    }
    for file in &files {
        if !exists(file) {
            return Err(err!(
                NotFound,
                "{}: missing, although {} names it: the download is incomplete",
                file.display(),
                path.display()
            ));
        }
    }
    Ok(Located { directory, index: Some((path.to_owned(), index)), files })
}

/// Reads a regular text file of bounded size.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> Result<String> {
    use std::io::Read as _;
    let kind = std::fs::metadata(path).map_err(|e| Error::io(path, "cannot open", e))?;
    if !kind.is_file() {
        return Err(err!(Format, "{}: not a regular file", path.display()));
    }
    let too_long = || err!(Format, "{}: longer than {max_bytes} bytes", path.display());
    if kind.len() > max_bytes {
        return Err(too_long());
    }
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, "cannot read", e))?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|e| {
        err!(Format, "{}: not UTF-8 after byte {}", path.display(), e.utf8_error().valid_up_to())
    })
}

/// Says what the directory holds instead of safetensors, if that is known.
fn nothing_found(directory: &Path) -> Error {
    let mut names: Vec<String> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect(),
        Err(e) => return Error::io(directory, "cannot list", e),
    };
    names.sort();
    if let Some(shard) = names.iter().find(|n| n.starts_with("model-") && n.ends_with(".safetensors")) {
        return err!(
            NotFound,
            "{}: holds {shard} but no {INDEX_FILE}: the checkpoint is incomplete",
            directory.display()
        );
    }
    if let Some(error) = names.iter().find_map(|name| other_format(directory, name)) {
        return error;
    }
    if let Some(file) = names.iter().find(|n| n.ends_with(".safetensors")) {
        return err!(
            NotFound,
            "{}: no {SINGLE_FILE} and no {INDEX_FILE}; to read {file}, give its own path",
            directory.display()
        );
    }
    err!(NotFound, "{}: no {SINGLE_FILE} and no {INDEX_FILE}", directory.display())
}

fn other_format(place: &Path, name: &str) -> Option<Error> {
    let place = place.display();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|s| name.ends_with(s));
    if name == "training_args.bin" {
        return None;
    }
    if ends(&[".bin", ".bin.index.json", ".pt", ".pth"]) {
        return Some(err!(
            Unsupported,
            "{place}: {name}: weights in PyTorch's pickle format are not read, since loading a pickle runs code \
             from the file; convert them first, to safetensors: in Python, model.save_pretrained(…, safe_serialization=True)"
        ));
    }
    if ends(&[".h5", ".h5.index.json", ".msgpack", ".msgpack.index.json"]) {
        return Some(err!(
            Unsupported,
            "{place}: {name}: converting into 4-bit weights from TensorFlow or Flax weights is not supported; make \
             sure the weights are in safetensors format, in Python with from_pretrained(…, from_tf=True or \
             from_flax=True) and save_pretrained(…)"
        ));
    }
    if ends(&[".gguf"]) {
        return Some(err!(
            Unsupported,
            "{place}: {name}: GGUF files are not read; start from the model's safetensors checkpoint"
        ));
    }
    None
}

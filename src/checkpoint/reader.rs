//! A checkpoint, open for reading.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::entries::{self, Entry, WeightEntry};
use super::header::quoted;
use super::limits::{MAX_CONFIG_BYTES, MAX_TENSORS};
use super::locate::{Located, locate, read_text};
use super::order::natural_order;
use super::shard_file::{Mapping, ShardFile};
use crate::config::parse_json;
use crate::dtype::DType;
use crate::error::{Result, err};
use crate::log::{Level, log};
use crate::shape::Shape;

/// One stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// The full name.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
    /// Position of its file among [`Checkpoint::shards`].
    pub shard: usize,
    /// Its bytes, counted from the start of that file.
    pub range: Range<u64>,
}

impl TensorEntry {
    /// Length of the data in bytes.
    pub fn byte_len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// A directory with `model.safetensors` or shards and their index, an index, or one `.safetensors`
/// file. Every header is read and checked when it is opened; the data stay on disk.
///
/// Tensors come in natural order of their names ([`natural_order`]), whatever their place on disk.
///
/// With an index, all tensors of all files that it names belong to the checkpoint, as they do in
/// transformers; one that the index names must be in the file it names, and none may be in two.
#[derive(Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    shards: Vec<Arc<ShardFile>>,
    tensors: Vec<TensorEntry>,
    entries: Vec<Entry>,
    config: OnceLock<Option<Config>>,
}

#[derive(Debug)]
struct Config {
    text: String,
    value: Value,
}

impl Checkpoint {
    /// Opens a checkpoint and checks all headers.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let Located { directory, index, files } = locate(path.as_ref())?;
        let mut shards = Vec::with_capacity(files.len());
        let mut tensors = Vec::new();
        for file in &files {
            let (shard, header) = ShardFile::open(file)?;
            tensors.extend(header.tensors.into_iter().map(|t| TensorEntry {
                name: t.name,
                dtype: t.dtype,
                shape: t.shape,
                shard: shards.len(),
                range: t.range,
            }));
            shards.push(Arc::new(shard));
            if tensors.len() > MAX_TENSORS {
                return Err(err!(Format, "{}: more than {MAX_TENSORS} tensors", path.as_ref().display()));
            }
        }
        tensors.sort_by(|a, b| natural_order(&a.name, &b.name));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let [first, second] = [&pair[0], &pair[1]].map(|t| shards[t.shard].path().display());
            return Err(err!(
                Format,
                "tensor {}: stands in both {first} and {second}",
                quoted(&pair[0].name)
            ));
        }
        let checkpoint = Checkpoint {
            directory,
            entries: entries::group(tensors.len(), |i| &tensors[i].name, |name| find_in(&tensors, name)),
            shards,
            tensors,
            config: OnceLock::new(),
        };
        if let Some((path, index)) = index {
            checkpoint
                .check_index(&index.weight_map, &index.files)
                .map_err(|e| e.in_place(path.display()))?;
        }
        checkpoint.report(path.as_ref());
        Ok(checkpoint)
    }

    fn report(&self, path: &Path) {
        log(Level::Info, || {
            let weights = self.entries.iter().filter(|e| matches!(e, Entry::Weight(_))).count();
            format!(
                "{}: opened: {} tensors in {} file(s), {weights} 4-bit weights",
                path.display(),
                self.tensors.len(),
                self.shards.len()
            )
        });
    }

    fn check_index(&self, map: &std::collections::BTreeMap<String, usize>, files: &[String]) -> Result<()> {
        for (name, &file) in map {
            match self.find(name).map(|i| self.tensors[i].shard) {
                Some(shard) if shard == file => {}
                Some(shard) => {
                    return Err(err!(
                        Format,
                        "field weight_map: tensor {}: is in {}, not in {} as the index says",
                        quoted(name),
                        files[shard],
                        files[file]
                    ));
                }
                None => {
                    return Err(err!(
                        Format,
                        "field weight_map: tensor {}: {} does not hold it",
                        quoted(name),
                        files[file]
                    ));
                }
            }
        }
        Ok(())
    }

    /// The directory that holds the files, `config.json` and whatever else lies beside them.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The files, in the order of their names.
    pub fn shards(&self) -> &[Arc<ShardFile>] {
        &self.shards
    }

    /// All stored tensors, the parts of quantized weights included, in natural order.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    /// The tensors as a person counts them: a quantized weight and its parts are one. In natural
    /// order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The name of an entry.
    pub fn entry_name<'a>(&'a self, entry: &'a Entry) -> &'a str {
        match entry {
            Entry::Tensor(i) => &self.tensors[*i].name,
            Entry::Weight(weight) => &weight.name,
        }
    }

    /// The position of a tensor among [`Self::tensors`].
    pub fn find(&self, name: &str) -> Option<usize> {
        find_in(&self.tensors, name)
    }

    /// The position of an entry among [`Self::entries`].
    pub fn find_entry(&self, name: &str) -> Option<usize> {
        self.entries.binary_search_by(|e| natural_order(self.entry_name(e), name)).ok()
    }

    /// The parts of a quantized weight. Parts without their weight, a weight without its quant
    /// state, and plain tensors are errors that say which it is.
    pub fn weight_parts(&self, name: &str) -> Result<&WeightEntry> {
        let entry = self.find_entry(name).map(|i| &self.entries[i]);
        entries::expect_weight(entry, name, |n| self.find(n))
    }

    /// The bytes of a tensor, mapped. `index` counts among [`Self::tensors`].
    pub fn bytes(&self, index: usize) -> Result<&[u8]> {
        let tensor = self.tensor(index)?;
        self.shards[tensor.shard].bytes(&tensor.range)
    }

    /// The mapped file of a tensor, to keep for as long as the bytes are needed, and the tensor's
    /// place in it.
    pub fn mapping(&self, index: usize) -> Result<(Arc<Mapping>, Range<usize>)> {
        let tensor = self.tensor(index)?;
        let mapping = self.shards[tensor.shard].mapping()?;
        Ok((Arc::clone(mapping), tensor.range.start as usize..tensor.range.end as usize))
    }

    /// Copies bytes of a tensor, from `offset` on, into `buffer`. Unlike mapped bytes this cannot be
    /// hurt by a file that is cut short meanwhile: it is an error then.
    pub fn read_at(&self, index: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let tensor = self.tensor(index)?;
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > tensor.byte_len()) {
            return Err(err!(
                InvalidArgument,
                "tensor {}: bytes {offset} + {} lie beyond its {} bytes",
                quoted(&tensor.name),
                buffer.len(),
                tensor.byte_len()
            ));
        }
        self.shards[tensor.shard].read_at(tensor.range.start + offset, buffer)
    }

    fn tensor(&self, index: usize) -> Result<&TensorEntry> {
        self.tensors.get(index).ok_or_else(|| {
            err!(NotFound, "tensor index {index}: the checkpoint has {} tensors", self.tensors.len())
        })
    }

    /// An error if a file was cut short, replaced in place or otherwise changed since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.shards.iter().try_for_each(|shard| shard.check_unchanged())
    }

    /// `config.json` beside the files, parsed; `None` if there is none.
    pub fn config(&self) -> Result<Option<&Value>> {
        Ok(self.load_config()?.map(|c| &c.value))
    }

    /// `config.json` beside the files, as it stands; `None` if there is none.
    pub fn config_text(&self) -> Result<Option<&str>> {
        Ok(self.load_config()?.map(|c| c.text.as_str()))
    }

    fn load_config(&self) -> Result<Option<&Config>> {
        if let Some(config) = self.config.get() {
            return Ok(config.as_ref());
        }
        let path = self.directory.join("config.json");
        let config = if std::fs::symlink_metadata(&path).is_ok() {
            let text = read_text(&path, MAX_CONFIG_BYTES)?;
            let value = parse_json(text.as_bytes(), "config.json").map_err(|e| e.in_place(path.display()))?;
            if !value.is_object() {
                return Err(err!(Format, "{}: expected a JSON object", path.display()));
            }
            Some(Config { text, value })
        } else {
            None
        };
        Ok(self.config.get_or_init(|| config).as_ref())
    }
}

fn find_in(tensors: &[TensorEntry], name: &str) -> Option<usize> {
    tensors.binary_search_by(|t| natural_order(&t.name, name)).ok()
}

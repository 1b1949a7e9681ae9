//! A checkpoint put together tensor by tensor, by programs that have their weights in memory.

use std::path::{Path, PathBuf};

use super::layout::{Layout, LayoutOptions, OutputTensor, Unit};
use super::output::{OutputDirectory, SideContent, SideFile};
use super::progress::SaveOptions;
use super::writer::CheckpointWriter;
use crate::dtype::DType;
use crate::error::Result;
use crate::memory::Bytes;
use crate::shape::Shape;
use crate::weight::Weight;

/// Tensors and weights to be written, in the order in which they fill the files.
#[derive(Default)]
pub struct CheckpointBuilder {
    units: Vec<Unit>,
    /// The bytes of every unit's tensors, shared with whoever gave them.
    bytes: Vec<Vec<Bytes>>,
    metadata: Vec<(String, String)>,
}

impl CheckpointBuilder {
    /// Adds a tensor. Names are checked against each other when it is written.
    pub fn add_tensor(&mut self, name: &str, dtype: DType, shape: Shape, bytes: Bytes) {
        self.units.push(Unit::plain(OutputTensor { name: name.to_owned(), dtype, shape }));
        self.bytes.push(vec![bytes]);
    }

    /// Adds a weight under the names bitsandbytes gives its parts: `name`, `name.absmax`, …
    pub fn add_weight(&mut self, name: &str, weight: &Weight) -> Result<()> {
        let mut unit = Unit { tensors: Vec::new(), parameters: 2 * weight.geometry().packed_bytes() };
        let mut bytes = Vec::new();
        for part in weight.parts() {
            let name = if part.name.is_empty() { name.to_owned() } else { format!("{name}.{}", part.name) };
            unit.tensors.push(OutputTensor { name, dtype: part.dtype, shape: part.shape });
            bytes.push(Bytes::copy_of(part.bytes)?);
        }
        self.units.push(unit);
        self.bytes.push(bytes);
        Ok(())
    }

    /// Sets a key of every file's `__metadata__`, beside `format`.
    pub fn set_metadata(&mut self, key: &str, value: &str) {
        self.metadata.retain(|(k, _)| k != key);
        self.metadata.push((key.to_owned(), value.to_owned()));
    }

    /// Writes everything; files appear when all of it is on disk. Returns their paths.
    pub fn write(&self, directory: &Path, options: &SaveOptions) -> Result<Vec<PathBuf>> {
        options.refuse_job("writing tensors from memory")?;
        let mut layout_options =
            LayoutOptions { max_shard_size: options.max_shard_size, ..LayoutOptions::default() };
        layout_options.metadata.retain(|(k, _)| self.metadata.iter().all(|(ours, _)| ours != k));
        layout_options.metadata.extend(self.metadata.iter().cloned());
        let layout = Layout::new(&self.units, &layout_options)?;
        let output = OutputDirectory::prepare(directory, None, options.force)?;
        let writer = CheckpointWriter::create(output, &layout)?;
        for (unit, tensors) in self.bytes.iter().enumerate() {
            for (place, bytes) in layout.places(unit).iter().zip(tensors) {
                writer.write(place, 0, bytes.as_slice())?;
            }
        }
        let config = options
            .config
            .clone()
            .map(|text| SideFile { name: "config.json".to_owned(), content: SideContent::Text(text) });
        writer.finish(config.as_slice())
    }
}

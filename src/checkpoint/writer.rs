//! Writing a laid-out checkpoint: files grow under temporary names, many threads write to final
//! offsets, and nothing appears under its final name before all of it is on disk.

use std::path::{Path, PathBuf};

use super::layout::{Layout, Place};
use super::output::{OutputDirectory, SideFile};
use super::partial_file::PartialFile;
use super::{INDEX_FILE, SINGLE_FILE};
use crate::error::{Result, err};

/// Writes one checkpoint. Dropped before [`finish`](Self::finish), it removes what it wrote.
#[derive(Debug)]
pub struct CheckpointWriter {
    // Dropped before `output`, which removes the directory if that leaves it empty.
    shards: Vec<PartialFile>,
    index: Option<String>,
    output: OutputDirectory,
}

impl CheckpointWriter {
    /// Creates all files under temporary names and reserves their disk space.
    pub fn create(output: OutputDirectory, layout: &Layout) -> Result<CheckpointWriter> {
        let mut shards = Vec::with_capacity(layout.shards.len());
        for shard in &layout.shards {
            let file = PartialFile::create(output.path(), &shard.file_name, shard.file_len)?;
            file.write_at(0, &shard.header)?;
            shards.push(file);
        }
        Ok(CheckpointWriter { shards, index: layout.index.clone(), output })
    }

    /// Writes `data` at `offset` within a tensor's place. Each byte is to be written once; any
    /// thread, any order.
    pub fn write(&self, place: &Place, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > place.len) {
            return Err(err!(
                InvalidArgument,
                "{}: bytes {offset} + {} lie beyond a tensor of {} bytes",
                self.shards[place.shard].final_path().display(),
                data.len(),
                place.len
            ));
        }
        self.shards[place.shard].write_at(place.offset + offset, data)
    }

    /// Makes the checkpoint appear: data to disk, then side files, shards and index under their
    /// final names, then what an earlier checkpoint left there is removed. Returns the paths written.
    pub fn finish(self, side_files: &[SideFile]) -> Result<Vec<PathBuf>> {
        let CheckpointWriter { shards, index, output } = self;
        for shard in &shards {
            shard.sync()?;
        }
        let mut written = Vec::new();
        for file in side_files {
            written.push(file.write_into(output.path())?);
        }
        let mut names: Vec<String> = shards.iter().map(PartialFile::file_name).collect();
        // Old shards under the same names must not be reachable through an old index while they
        // are being replaced one by one.
        if names.iter().any(|name| name != SINGLE_FILE && output.path().join(name).exists()) {
            output.remove(INDEX_FILE)?;
        }
        for shard in shards {
            written.push(shard.publish()?);
        }
        if let Some(text) = index {
            let file = PartialFile::create(output.path(), INDEX_FILE, text.len() as u64)?;
            file.write_at(0, text.as_bytes())?;
            file.sync()?;
            written.push(file.publish()?);
            names.push(INDEX_FILE.to_owned());
        }
        output.remove_stale(&names)?;
        output.finish()?;
        Ok(written)
    }

    /// The directory written to.
    pub fn directory(&self) -> &Path {
        self.output.path()
    }
}

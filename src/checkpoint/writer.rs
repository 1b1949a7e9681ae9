//! Writing a laid-out checkpoint: files grow under temporary names, many threads write to final
//! offsets, and no file gets its final name before all of it is on disk.

use std::path::{Path, PathBuf};

use super::job::JobFile;
use super::layout::{Layout, Place, ShardLayout};
use super::output::{OutputDirectory, SideFile};
use super::partial_file::PartialFile;
use super::{INDEX_FILE, SINGLE_FILE};
use crate::error::{Result, err};
use crate::log::{Level, log};

/// Writes one checkpoint. Dropped before [`finish`](Self::finish), it removes what it wrote; with a
/// job file, the files that are whole stay.
#[derive(Debug)]
pub struct CheckpointWriter {
    // Dropped in this order: `output` removes the directory if that leaves it empty.
    shards: Vec<Option<PartialFile>>,
    names: Vec<String>,
    index: Option<String>,
    job: Option<JobFile>,
    /// Whether files get their final names one by one, not all at the end.
    one_by_one: bool,
    output: OutputDirectory,
}

impl CheckpointWriter {
    /// Creates all files under temporary names and reserves their disk space.
    pub fn create(output: OutputDirectory, layout: &Layout) -> Result<CheckpointWriter> {
        Self::of(output, layout, None, false, |_| true)
    }

    /// The same for those files only that `wanted` names by their position. Each file gets its final
    /// name as soon as it is whole, except a single one: its name makes the checkpoint complete.
    pub(super) fn create_for_job(
        output: OutputDirectory,
        layout: &Layout,
        job: JobFile,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<CheckpointWriter> {
        Self::of(output, layout, Some(job), layout.shards.len() > 1, wanted)
    }

    fn of(
        output: OutputDirectory,
        layout: &Layout,
        job: Option<JobFile>,
        one_by_one: bool,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<CheckpointWriter> {
        let names = layout.shards.iter().map(|s| s.file_name.clone()).collect();
        let (shards, index) = (Vec::with_capacity(layout.shards.len()), layout.index.clone());
        let mut writer = CheckpointWriter { shards, names, index, job, one_by_one, output };
        for (i, shard) in layout.shards.iter().enumerate() {
            let file = wanted(i).then(|| writer.create_shard(shard)).transpose()?;
            writer.shards.push(file);
        }
        Ok(writer)
    }

    fn create_shard(&self, shard: &ShardLayout) -> Result<PartialFile> {
        let file = PartialFile::create(self.output.path(), &shard.file_name, shard.file_len)?;
        let is_whole = file.write_at(0, &shard.header)?;
        self.written(&file, is_whole)?;
        Ok(file)
    }

    /// Whether the file at this position among [`Layout::shards`] is written here.
    pub(super) fn writes(&self, shard: usize) -> bool {
        self.shards[shard].is_some()
    }

    /// Writes `data` at `offset` within a tensor's place. Each byte is to be written once; any
    /// thread, any order.
    pub fn write(&self, place: &Place, offset: u64, data: &[u8]) -> Result<()> {
        let Some(file) = &self.shards[place.shard] else {
            return Err(err!(InvalidState, "{}: is not written by this run", self.names[place.shard]));
        };
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > place.len) {
            return Err(err!(
                InvalidArgument,
                "{}: bytes {offset} + {} lie beyond a tensor of {} bytes",
                file.final_path().display(),
                data.len(),
                place.len
            ));
        }
        let is_whole = file.write_at(place.offset + offset, data)?;
        self.written(file, is_whole)
    }

    fn written(&self, file: &PartialFile, is_whole: bool) -> Result<()> {
        if is_whole && self.one_by_one {
            file.sync()?;
            file.publish()?;
            self.job.iter().for_each(JobFile::keep);
            report_file(file);
        }
        Ok(())
    }

    /// Makes the checkpoint appear: data to disk, then side files, shards and index under their
    /// final names, then what an earlier checkpoint left there is removed. Returns the paths written.
    pub fn finish(mut self, side_files: &[SideFile]) -> Result<Vec<PathBuf>> {
        let mut written = self.publish_files(side_files, true)?;
        let CheckpointWriter { mut names, index, job, output, .. } = self;
        if let Some(text) = index {
            written.push(output.write_index(&text)?);
            names.push(INDEX_FILE.to_owned());
        }
        output.remove_stale(&names)?;
        match job {
            Some(job) => job.remove()?,
            None => output.remove(super::JOB_FILE)?,
        }
        log(Level::Info, || format!("{}: written: {} files", output.path().display(), written.len()));
        output.finish()?;
        Ok(written)
    }

    /// The same for a part: neither index nor cleaning up, the job file stays.
    pub(super) fn finish_part(mut self, side_files: &[SideFile]) -> Result<Vec<PathBuf>> {
        let written = self.publish_files(side_files, false)?;
        self.output.finish()?;
        Ok(written)
    }

    fn publish_files(&mut self, side_files: &[SideFile], is_all: bool) -> Result<Vec<PathBuf>> {
        let shards: Vec<PartialFile> = std::mem::take(&mut self.shards).into_iter().flatten().collect();
        let pending = || shards.iter().filter(|s| !s.is_published());
        for shard in pending() {
            shard.sync()?;
        }
        // From here on there are files under their final names.
        self.job.iter().for_each(JobFile::keep);
        let mut written = Vec::new();
        for file in side_files {
            written.push(file.write_into(self.output.path())?);
        }
        // Old shards under the same names must not be reachable through an old index while they
        // are being replaced one by one.
        let replaces = |name: &String| name != SINGLE_FILE && self.output.path().join(name).exists();
        if is_all && !self.one_by_one && self.names.iter().any(replaces) {
            self.output.remove(INDEX_FILE)?;
        }
        for shard in &shards {
            written.push(match shard.is_published() {
                true => shard.final_path().to_owned(),
                false => {
                    report_file(shard);
                    shard.publish()?
                }
            });
        }
        Ok(written)
    }

    /// The directory written to.
    pub fn directory(&self) -> &Path {
        self.output.path()
    }
}

fn report_file(file: &PartialFile) {
    log(Level::Debug, || format!("{}: on disk", file.final_path().display()));
}

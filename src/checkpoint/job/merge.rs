//! Making one checkpoint of the files that parts have written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::{JOB_FILE, JobFile};
use super::fingerprint::Fingerprint;
use super::manifest::{Job, JobShard};
use crate::checkpoint::finish::config_file;
use crate::checkpoint::header::PREFIX_BYTES;
use crate::checkpoint::index;
use crate::checkpoint::limits::MAX_SHARDS;
use crate::checkpoint::lock::Sharing;
use crate::checkpoint::output::OutputDirectory;
use crate::checkpoint::{SaveReport, ShardFile};
use crate::error::{Error, Result, err};

/// Checks that all files of the job in `directory` are there, whole and with the headers that were
/// planned, then writes config.json (if there is none) and the index and removes the job file. After
/// an error everything is as it was.
pub fn merge_parts(directory: &Path) -> Result<SaveReport> {
    let Some(file) = JobFile::lock(directory, Sharing::Alone)? else {
        return Err(err!(
            NotFound,
            "{}: no {JOB_FILE}: not what \"quantize --part\" writes, or merged already",
            directory.display()
        ));
    };
    let job = file.read()?;
    check_names(&job).map_err(|e| e.in_place(file.path().display()))?;
    let index = check_shards(directory, &job)?;
    let is_there = |name: &str| std::fs::symlink_metadata(directory.join(name)).is_ok();
    if let Some(name) = job.task.side_files.iter().find(|name| !is_there(name)) {
        return Err(err!(
            NotFound,
            "{}: {name} is missing: part 1 copies it from beside the source",
            directory.display()
        ));
    }

    let output = OutputDirectory::open(directory, None)?;
    let mut names: Vec<String> = job.shards.iter().map(|s| s.name.clone()).collect();
    let mut files: Vec<PathBuf> = job.task.side_files.iter().map(|name| directory.join(name)).collect();
    match &job.task.config {
        Some(_) if is_there("config.json") => files.push(directory.join("config.json")),
        Some(text) => files.push(config_file(text.clone()).write_into(directory)?),
        None => {}
    }
    files.extend(names.iter().map(|name| directory.join(name)));
    if let Some(text) = index {
        files.push(output.write_index(&text)?);
        names.push(crate::checkpoint::INDEX_FILE.to_owned());
    }
    output.remove_stale(&names)?;
    file.remove()?;
    output.finish()?;
    Ok(SaveReport { files, shards: job.shards.len(), resumed: job.shards.len(), total_size: job.total_size })
}

/// A job file comes from elsewhere, perhaps from a stranger: its names must not leave the directory.
fn check_names(job: &Job) -> Result<()> {
    if job.shards.is_empty() || job.shards.len() > MAX_SHARDS {
        return Err(err!(Format, "field shards: {} files, expected 1 to {MAX_SHARDS}", job.shards.len()));
    }
    for (i, shard) in job.shards.iter().enumerate() {
        let expected = crate::checkpoint::shard_file_name(i, job.shards.len());
        if shard.name != expected {
            return Err(err!(Format, "field shards[{i}].name: {:?}, expected {expected:?}", shard.name));
        }
    }
    match job.task.side_files.iter().find(|name| name.contains(['/', '\\', '\0'])) {
        Some(name) => Err(err!(Format, "field side_files: {name:?}: expected the name of a file")),
        None => Ok(()),
    }
}

/// Checks every file; returns the text of the index if there is more than one.
fn check_shards(directory: &Path, job: &Job) -> Result<Option<String>> {
    let missing: Vec<&str> = job
        .shards
        .iter()
        .filter(|shard| !directory.join(&shard.name).exists())
        .map(|shard| shard.name.as_str())
        .collect();
    if !missing.is_empty() {
        let (some, more) = (&missing[..missing.len().min(5)], missing.len().saturating_sub(5));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(err!(
            NotFound,
            "{}: {} of {} files are missing: {}{more}: run their parts again",
            directory.display(),
            missing.len(),
            job.shards.len(),
            some.join(", ")
        ));
    }
    let (mut weight_map, mut total_size) = (BTreeMap::new(), 0);
    for shard in &job.shards {
        for (name, bytes) in check_shard(directory, shard)? {
            total_size += bytes;
            if let Some(other) = weight_map.insert(name.clone(), shard.name.as_str()) {
                return Err(err!(Format, "tensor {name:?}: stands in both {other} and {}", shard.name));
            }
        }
    }
    if total_size != job.total_size {
        return Err(err!(
            Format,
            "{}: the files hold {total_size} bytes of tensors, the job file says {}",
            directory.display(),
            job.total_size
        ));
    }
    let map: BTreeMap<&str, &str> = weight_map.iter().map(|(name, &file)| (name.as_str(), file)).collect();
    Ok((job.shards.len() > 1).then(|| index::encode(job.total_parameters, total_size, &map)))
}

/// The names of a file's tensors and their bytes.
fn check_shard(directory: &Path, planned: &JobShard) -> Result<Vec<(String, u64)>> {
    let path = directory.join(&planned.name);
    let length = std::fs::metadata(&path).map_err(|e| Error::io(&path, "cannot open", e))?.len();
    if length != planned.bytes {
        return Err(err!(
            Format,
            "{}: {length} bytes, expected {}: not copied in full? Copy it again, or remove it and run its part again",
            path.display(),
            planned.bytes
        ));
    }
    let (file, header) = ShardFile::open(&path)?;
    let end = header.tensors.first().map_or(length, |t| t.range.start);
    let mut bytes = vec![0; end.max(PREFIX_BYTES) as usize];
    file.read_at(0, &mut bytes)?;
    if Fingerprint::of(&bytes) != planned.header {
        return Err(err!(
            Format,
            "{}: its header is not the planned one: the file belongs to another conversion; remove it and run its part again",
            path.display()
        ));
    }
    Ok(header.tensors.into_iter().map(|t| (t.name, t.range.end - t.range.start)).collect())
}

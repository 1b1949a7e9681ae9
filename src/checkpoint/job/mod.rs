//! Conversions that take more than one run: resumed after a crash, or divided over machines.
//!
//! Such a run leaves `fourbit-job.json` in the output directory before its first finished file and
//! takes it away when the checkpoint is complete. The file says which conversion it is (a run that
//! would give other bytes is refused), how long each output file will be and what header it will
//! have, and the offsets found by scanning the source, so that the next run need not scan again. A
//! file under its final name that has that length and header is finished: nothing else is ever given
//! a final name.

mod file;
mod fingerprint;
mod manifest;
mod merge;
mod part;

use std::path::Path;

pub use file::JOB_FILE;
pub(super) use file::JobFile;
pub use merge::merge_parts;
pub use part::Part;

use super::layout::{Layout, ShardLayout};
use super::lock::Sharing;
use super::output::OutputDirectory;
use super::positioned;
use super::progress::SaveOptions;
use super::reader::Checkpoint;
use super::writer::CheckpointWriter;
use crate::error::{Error, Result, err};
use crate::plan::Plan;
use crate::quant::QuantSpec;
use manifest::{Job, Task};

/// How much of a conversion a run is to do, and what it leaves if it does not come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobMode {
    /// All of it. Files appear when all is written; after an error nothing remains.
    #[default]
    Whole,
    /// All of it. Each file appears when it is whole, and after an error or a crash those stay for
    /// [`JobMode::Resume`]. Where an earlier checkpoint is to be replaced (`force`) this is
    /// [`JobMode::Whole`], so that the earlier one stays usable until then.
    Resumable,
    /// What an interrupted run left to do; all of it if there was none.
    Resume,
    /// Scanning alone: the job file appears, from which parts go on.
    Prepare,
    /// The files of one part. [`merge_parts`] completes the checkpoint when all parts are there.
    /// What an earlier attempt at the part finished is not done again.
    Part(Part),
}

impl JobMode {
    fn sharing(self) -> Sharing {
        match self {
            JobMode::Part(_) | JobMode::Prepare => Sharing::Shared,
            _ => Sharing::Alone,
        }
    }
}

/// An output directory that has been found fit for a run.
pub(super) struct JobDirectory {
    output: OutputDirectory,
    state: State,
}

enum State {
    /// No job file is needed.
    Whole,
    New(Box<Task>),
    Known(JobFile, Box<Job>),
}

/// What a run writes.
pub(super) struct Started {
    pub writer: CheckpointWriter,
    /// Files of this run that are finished already.
    pub resumed: usize,
}

impl JobDirectory {
    /// Takes the output directory for converting `checkpoint`.
    pub fn enter(
        path: &Path,
        spec: &QuantSpec,
        checkpoint: &Checkpoint,
        plan: &Plan,
        options: &SaveOptions,
    ) -> Result<JobDirectory> {
        let output = OutputDirectory::open(path, Some(checkpoint.directory()))?;
        let whole = |output| Ok(JobDirectory { output, state: State::Whole });
        let by_parts = options.job.sharing() == Sharing::Shared;
        match options.job {
            JobMode::Whole => {
                if !options.force {
                    output.check_empty()?;
                }
                return whole(output);
            }
            JobMode::Resumable if !make_room(&output, options.force)? => return whole(output),
            JobMode::Resumable => {}
            _ if options.force => {
                return Err(err!(
                    InvalidArgument,
                    "force: a run that continues what is there, or does a part of it, cannot start over"
                ));
            }
            _ => {}
        }
        let task = Task::new(spec, checkpoint, plan, options, by_parts)?;
        let found = match options.job {
            JobMode::Resumable => None,
            mode => find_job(&output, mode.sharing())?,
        };
        let state = match found {
            None => State::New(Box::new(task)),
            Some(file) => {
                let job = file.read()?;
                check_same(&file, &job.task, &task)?;
                State::Known(file, Box::new(job))
            }
        };
        Ok(JobDirectory { output, state })
    }

    /// The offsets of `count` weights, if an earlier run has found them.
    pub fn offsets(&self, count: usize) -> Result<Option<Vec<u32>>> {
        match &self.state {
            State::Known(file, job) => job.offsets(count).map_err(|e| e.in_place(file.path().display())),
            _ => Ok(None),
        }
    }

    /// Writes the job file, if it is not there, and opens the files that this run is to write.
    pub fn start(self, layout: &Layout, offsets: Option<&[u32]>, mode: JobMode) -> Result<Started> {
        let output = self.output;
        let (file, job) = match self.state {
            State::Whole => {
                return Ok(Started { writer: CheckpointWriter::create(output, layout)?, resumed: 0 });
            }
            State::New(task) => {
                let ours = Job::new(*task, layout, offsets);
                let (file, job) = JobFile::create(output.path(), &ours, mode.sharing())?;
                check_same(&file, &job.task, &ours.task)?;
                (file, job)
            }
            State::Known(file, job) => (file, *job),
        };
        if job != Job::new(job.task.clone(), layout, offsets) {
            return Err(err!(
                Format,
                "{}: does not fit its own conversion (the file is damaged): start over (--force)",
                file.path().display()
            ));
        }
        let sizes: Vec<u64> = layout.shards.iter().map(|s| s.file_len).collect();
        let ours = match mode {
            JobMode::Part(part) => part.files(&sizes),
            JobMode::Prepare => vec![false; sizes.len()],
            _ => vec![true; sizes.len()],
        };
        if matches!(mode, JobMode::Part(_) | JobMode::Prepare) {
            file.keep();
        }
        let mut wanted = ours.clone();
        for (wanted, shard) in wanted.iter_mut().zip(&layout.shards) {
            if *wanted && is_finished(output.path(), shard)? {
                *wanted = false;
                file.keep();
            }
        }
        let resumed = ours.iter().zip(&wanted).filter(|(o, w)| o != w).count();
        let writer = CheckpointWriter::create_for_job(output, layout, file, |i| wanted[i])?;
        Ok(Started { writer, resumed })
    }
}

/// Prepares a directory for a new job. Returns whether that is possible: an earlier checkpoint that
/// is to be replaced leaves no room for the files of a job.
fn make_room(output: &OutputDirectory, force: bool) -> Result<bool> {
    let leftover = JobFile::lock(output.path(), Sharing::Alone)?;
    if !force {
        output.check_empty()?;
    }
    match leftover {
        Some(job) if !output.is_complete() => {
            // The job file goes last: until then this is still an unfinished job.
            output.remove_stale(&[])?;
            job.remove()?;
            Ok(true)
        }
        _ => Ok(!output.has_weights()?),
    }
}

/// The job to continue. Without one the directory must be empty.
fn find_job(output: &OutputDirectory, sharing: Sharing) -> Result<Option<JobFile>> {
    if let Some(file) = JobFile::lock(output.path(), sharing)? {
        return Ok(Some(file));
    }
    match output.check_empty() {
        Ok(()) => Ok(None),
        // Another part may have begun just now; then its job file was there first.
        Err(error) => JobFile::lock(output.path(), sharing)?.map(Some).ok_or(error),
    }
}

fn check_same(file: &JobFile, there: &Task, here: &Task) -> Result<()> {
    match there.difference(here)? {
        None => Ok(()),
        Some(what) => Err(err!(
            InvalidArgument,
            "{}: belongs to another conversion: {what}. Give the same source and options, or another directory",
            file.path().display()
        )),
    }
}

/// Whether a file stands under its final name with the planned length and header.
fn is_finished(directory: &Path, shard: &ShardLayout) -> Result<bool> {
    let path = directory.join(&shard.file_name);
    match std::fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() && meta.len() == shard.file_len => {}
        Ok(_) => return Ok(false),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io(&path, "cannot open", e)),
    }
    let file = std::fs::File::open(&path).map_err(|e| Error::io(&path, "cannot open", e))?;
    let mut header = vec![0; shard.header.len()];
    positioned::read_exact_at(&file, &mut header, 0).map_err(|e| Error::io(&path, "cannot read", e))?;
    Ok(header == shard.header)
}

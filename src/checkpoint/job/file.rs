//! The job file in an output directory: there from before the first finished file appears until
//! the checkpoint is complete, and locked while a run is at work.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::manifest::Job;
use crate::checkpoint::limits::MAX_JOB_BYTES;
use crate::checkpoint::locate::read_text;
use crate::checkpoint::lock::{Sharing, is_still_at, try_lock};
use crate::error::{Error, Result, err};

/// Its name. Not a hidden one: copying a directory's visible files must not lose it.
pub const JOB_FILE: &str = "fourbit-job.json";

/// The locked job file of a directory. Dropped before [`keep`](Self::keep), it is removed.
#[derive(Debug)]
pub(crate) struct JobFile {
    path: PathBuf,
    _locked: File,
    keep: AtomicBool,
}

impl JobFile {
    /// Locks the job file of `directory`, which is then kept; `None` if there is none. It is an error
    /// if another run is at work there, unless both share the work.
    pub fn lock(directory: &Path, sharing: Sharing) -> Result<Option<JobFile>> {
        let path = directory.join(JOB_FILE);
        loop {
            // Asked before opening: opening a pipe would wait for its writer.
            if std::fs::metadata(&path).is_ok_and(|kind| !kind.is_file()) {
                return Err(err!(Format, "{}: not a regular file", path.display()));
            }
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::io(&path, "cannot open", e)),
            };
            if !try_lock(&file, sharing) {
                return Err(err!(
                    InvalidState,
                    "{}: another fourbit process is at work in this directory",
                    path.display()
                ));
            }
            // Its last user may have removed it before giving up the lock.
            if is_still_at(&file, &path) {
                return Ok(Some(JobFile { path, _locked: file, keep: AtomicBool::new(true) }));
            }
        }
    }

    /// Makes `job` the directory's job, to be removed if nothing comes of it. If another run has
    /// just done the same, that one's file is taken.
    pub fn create(directory: &Path, job: &Job, sharing: Sharing) -> Result<(JobFile, Job)> {
        let path = directory.join(JOB_FILE);
        let created = place(&path, job.to_json()?.as_bytes())?;
        let file = Self::lock(directory, sharing)?
            .ok_or_else(|| err!(InvalidState, "{}: was removed by another process", path.display()))?;
        file.keep.store(!created, Ordering::Relaxed);
        let job = file.read()?;
        Ok((file, job))
    }

    /// What it says.
    pub fn read(&self) -> Result<Job> {
        let text = read_text(&self.path, MAX_JOB_BYTES)?;
        Job::from_json(&text).map_err(|e| e.in_place(self.path.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the file stay when this is dropped: there is something to continue from.
    pub fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// The job is done.
    pub fn remove(self) -> Result<()> {
        self.keep();
        std::fs::remove_file(&self.path).map_err(|e| Error::io(&self.path, "cannot remove", e))
    }
}

impl Drop for JobFile {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Relaxed) {
            // A failure leaves a job that the next run asks about.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes a file that appears whole and never replaces one. Returns whether it was this call that
/// made it.
fn place(path: &Path, text: &[u8]) -> Result<bool> {
    // Runs that share a directory start at the same moment, perhaps on several machines.
    let moment = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let temporary = path.with_file_name(format!(".{JOB_FILE}.{}-{moment}.partial", std::process::id()));
    let io = |action| move |e| Error::io(path, action, e);
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    let placed = match written {
        Err(e) => Err(io("cannot write")(e)),
        Ok(()) => match std::fs::hard_link(&temporary, path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            // A file system without hard links: two runs that start at once write the same text.
            Err(_) => {
                return std::fs::rename(&temporary, path)
                    .map(|()| true)
                    .map_err(io("cannot rename to its final name"));
            }
        },
    };
    let _ = std::fs::remove_file(&temporary);
    placed
}

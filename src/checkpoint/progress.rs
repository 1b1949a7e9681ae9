//! How a long operation reports where it is, and what it is given to go by.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::DEFAULT_MAX_SHARD_SIZE;
use super::job::JobMode;
use crate::error::{Result, err};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading weights for their absmax values, on which the layout depends under double
    /// quantization.
    Scan,
    /// Converting and writing.
    Write,
    /// Quantizing and casting into memory.
    Load,
}

impl Phase {
    /// `scan`, `write` or `load`.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Scan => "scan",
            Phase::Write => "write",
            Phase::Load => "load",
        }
    }
}

/// Where a long operation is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is being done.
    pub phase: Phase,
    /// The tensor it has come to.
    pub tensor: &'a str,
    /// Source bytes dealt with, over all phases.
    pub done: u64,
    /// Source bytes to deal with, over all phases.
    pub total: u64,
}

/// Called on the calling thread every few megabytes; `Break` cancels, after which of the output
/// remains what [`JobMode`] says: by default nothing.
pub type ProgressFn<'a> = dyn FnMut(&Progress<'_>) -> ControlFlow<()> + 'a;

/// How to write a checkpoint.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// Bytes of tensor data per file; a larger weight gets a file of its own.
    pub max_shard_size: u64,
    /// Replace what is in the output directory.
    pub force: bool,
    /// The text of `config.json`; without one none is written.
    pub config: Option<String>,
    /// Copy tokenizer and other files that lie beside the source's weights.
    pub copy_side_files: bool,
    /// Quantizing only: how much of the checkpoint to write, and whether an interrupted run can be
    /// continued.
    pub job: JobMode,
    /// Quantizing only: bytes that working memory may take; `None` takes what keeps all threads
    /// busy. The headers and the plan of the checkpoint come on top.
    pub memory: Option<u64>,
}

impl SaveOptions {
    /// For operations that are done in one go.
    pub(super) fn refuse_job(&self, operation: &str) -> Result<()> {
        if self.job != JobMode::Whole || self.memory.is_some() {
            return Err(err!(
                Unsupported,
                "{operation} is done in one go: it cannot be divided or resumed, nor does it take a memory limit"
            ));
        }
        Ok(())
    }
}

impl Default for SaveOptions {
    /// 5 GB, nothing replaced, no config, side files copied.
    fn default() -> Self {
        SaveOptions {
            max_shard_size: DEFAULT_MAX_SHARD_SIZE,
            force: false,
            config: None,
            copy_side_files: true,
            job: JobMode::Whole,
            memory: None,
        }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveReport {
    /// Every file that this run wrote, in the order of their numbers.
    pub files: Vec<PathBuf>,
    /// How many files of the checkpoint hold tensors.
    pub shards: usize,
    /// How many of those an earlier run had finished.
    pub resumed: usize,
    /// Bytes of tensor data, headers not counted.
    pub total_size: u64,
}

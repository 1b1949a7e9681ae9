//! What the job file says: which conversion this directory is in the middle of.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprint::{self, Fingerprint};
use crate::checkpoint::layout::{Layout, ShardLayout};
use crate::checkpoint::output::side_files;
use crate::checkpoint::{Checkpoint, SaveOptions};
use crate::error::{Result, err};
use crate::plan::Plan;
use crate::quant::QuantSpec;

/// The version of the format below.
const FORMAT: u32 = 1;

/// A conversion and the files that it writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    /// The version of this format.
    fourbit_job: u32,
    pub task: Task,
    /// `nested_offset` of every weight under double quantization: eight hex digits each, in natural
    /// order of the names. With it nobody need scan the source again.
    offsets: Option<String>,
    pub total_parameters: u64,
    pub total_size: u64,
    pub shards: Vec<JobShard>,
}

/// A file that holds tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobShard {
    pub name: String,
    pub bytes: u64,
    /// Fingerprint of its header.
    pub header: String,
}

/// All that decides the bytes of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    /// Of this library.
    version: String,
    recipe: Recipe,
    /// Fingerprint of the plan.
    plan: String,
    source: Source,
    /// The text of config.json.
    pub config: Option<String>,
    /// The names of the files that go beside the weights.
    pub side_files: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    quant_type: String,
    block_size: u64,
    double_quant: bool,
    rule: String,
    storage: String,
    max_shard_size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    fingerprint: String,
    files: Vec<SourceFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFile {
    name: String,
    bytes: u64,
    /// Nanoseconds since 1970. Left out by parts, which may each read a copy of the source.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    modified: Option<u64>,
}

impl Task {
    /// The conversion of `checkpoint` by `plan`. `by_parts` leaves out what differs between copies
    /// of the source.
    pub fn new(
        spec: &QuantSpec,
        checkpoint: &Checkpoint,
        plan: &Plan,
        options: &SaveOptions,
        by_parts: bool,
    ) -> Result<Task> {
        let beside = if options.copy_side_files { side_files(checkpoint.directory())? } else { Vec::new() };
        let files = checkpoint.shards().iter().map(|shard| SourceFile {
            name: shard.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: shard.len(),
            modified: if by_parts { None } else { shard.modified_nanos() },
        });
        Ok(Task {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: Recipe {
                quant_type: spec.quant_type.name().to_owned(),
                block_size: spec.block_size.get() as u64,
                double_quant: spec.double_quant,
                rule: spec.rule.name().to_owned(),
                storage: spec.storage.torch_name().to_owned(),
                max_shard_size: options.max_shard_size,
            },
            plan: Fingerprint::of(plan.to_json().as_bytes()),
            source: Source { fingerprint: fingerprint::of_checkpoint(checkpoint)?, files: files.collect() },
            config: options.config.clone(),
            side_files: beside.into_iter().map(|f| f.name).collect(),
        })
    }

    /// In words, the first point in which `other` is another conversion than this.
    pub fn difference(&self, other: &Task) -> Result<Option<String>> {
        let value = |task| serde_json::to_value(task).map_err(|e| err!(InvalidState, "job file: {e}"));
        Ok(first_difference(&value(self)?, &value(other)?, ""))
    }
}

/// What only one side knows (a modification time) is not compared.
fn first_difference(left: &Value, right: &Value, path: &str) -> Option<String> {
    match (left, right) {
        (Value::Object(l), Value::Object(r)) => l.iter().find_map(|(key, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            first_difference(value, r.get(key)?, &format!("{path}{dot}{key}"))
        }),
        (Value::Array(l), Value::Array(r)) if l.len() == r.len() => l
            .iter()
            .zip(r)
            .enumerate()
            .find_map(|(i, (l, r))| first_difference(l, r, &format!("{path}[{i}]"))),
        _ if left == right => None,
        _ => {
            let (left, right) = (left.to_string(), right.to_string());
            match left.len() + right.len() < 200 {
                true => Some(format!("{path} is {left} there, {right} here")),
                false => Some(format!("{path} is another one")),
            }
        }
    }
}

impl Job {
    pub fn new(task: Task, layout: &Layout, offsets: Option<&[u32]>) -> Job {
        Job {
            fourbit_job: FORMAT,
            task,
            offsets: offsets.map(|all| all.iter().map(|bits| format!("{bits:08x}")).collect()),
            total_parameters: layout.total_parameters,
            total_size: layout.total_size,
            shards: layout.shards.iter().map(JobShard::of).collect(),
        }
    }

    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| err!(InvalidState, "job file: {e}"))?;
        Ok(text + "\n")
    }

    pub fn from_json(text: &str) -> Result<Job> {
        let job: Job = serde_json::from_str(text).map_err(|e| err!(Format, "{e}"))?;
        if job.fourbit_job != FORMAT {
            return Err(err!(Format, "field fourbit_job: {}, expected {FORMAT}", job.fourbit_job));
        }
        Ok(job)
    }

    /// The offsets of `count` weights, as bits of `f32`; `None` without double quantization.
    pub fn offsets(&self, count: usize) -> Result<Option<Vec<u32>>> {
        let Some(text) = &self.offsets else { return Ok(None) };
        let words = text.as_bytes().chunks(8);
        let parsed: Option<Vec<u32>> =
            words.map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()).collect();
        match parsed {
            Some(offsets) if offsets.len() == count && text.len() == count * 8 => Ok(Some(offsets)),
            _ => Err(err!(Format, "field offsets: expected eight hex digits for each of {count} weights")),
        }
    }
}

impl JobShard {
    fn of(shard: &ShardLayout) -> JobShard {
        JobShard {
            name: shard.file_name.clone(),
            bytes: shard.file_len,
            header: Fingerprint::of(&shard.header),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let left = value(r#"{"a":{"b":1,"c":[1,{"d":"x","m":5}]}}"#);
        assert_eq!(first_difference(&left, &left, ""), None);
        let right = value(r#"{"a":{"b":1,"c":[1,{"d":"y"}]}}"#);
        assert_eq!(first_difference(&left, &right, "").unwrap(), r#"a.c[1].d is "x" there, "y" here"#);
        let right = value(r#"{"a":{"b":1,"c":[1,{"d":"x"}]}}"#);
        assert_eq!(first_difference(&left, &right, ""), None, "one side only");
        let right = value(r#"{"a":{"b":1,"c":[1]}}"#);
        assert!(first_difference(&left, &right, "").unwrap().starts_with("a.c is ["));
    }
}

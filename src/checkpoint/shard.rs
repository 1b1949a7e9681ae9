//! Which units go into which file.

use crate::error::{Result, err};

/// Whose way of filling shards to follow. Both are greedy in the order given; they differ in where a
/// unit goes that is larger than a shard may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ShardRule {
    /// huggingface_hub, used by transformers 4.43 and later: an oversized unit becomes a file of its
    /// own at once, numbered before the file that is being filled.
    #[default]
    Hub,
    /// `shard_checkpoint` of transformers 4.41: the file being filled is closed first, and an
    /// oversized unit opens the next one.
    V441,
}

/// Splits units of the given sizes, in order, into shards of at most `max_size` bytes, except that a
/// larger unit gets a shard to itself. Returns the unit indices of each shard.
pub fn split(sizes: &[u64], max_size: u64, rule: ShardRule) -> Result<Vec<Vec<usize>>> {
    if max_size == 0 {
        return Err(err!(InvalidArgument, "max_shard_size 0: must be at least one byte"));
    }
    let mut shards = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut open_size = 0u64;
    for (unit, &size) in sizes.iter().enumerate() {
        if rule == ShardRule::Hub && size > max_size {
            shards.push(vec![unit]);
            continue;
        }
        let total = open_size.checked_add(size);
        if total.is_none_or(|t| t > max_size) && !open.is_empty() {
            shards.push(std::mem::take(&mut open));
            open_size = 0;
        }
        open.push(unit);
        open_size += size;
    }
    if !open.is_empty() {
        shards.push(open);
    }
    Ok(shards)
}

/// The name of shard `index` (from 0) of `count`.
pub fn shard_file_name(index: usize, count: usize) -> String {
    match count {
        0 | 1 => super::SINGLE_FILE.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    }
}

//! Limits on what a file may ask for. All of them lie well above what real checkpoints hold; they
//! bound the memory and time that a hostile file can cost before it is refused.

/// Bytes of one safetensors header: the limit of the safetensors library.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Tensors in one file.
pub const MAX_FILE_TENSORS: usize = 1 << 20;
/// Tensors in one checkpoint.
pub const MAX_TENSORS: usize = 1 << 22;
/// Bytes of a tensor's name.
pub const MAX_NAME_BYTES: usize = 1024;
/// Files in one checkpoint.
pub const MAX_SHARDS: usize = 10_000;
/// Bytes of a file's name: the limit of the usual file systems.
pub const MAX_FILE_NAME_BYTES: usize = 255;
/// Bytes of an index file.
pub const MAX_INDEX_BYTES: u64 = 100_000_000;
/// Bytes of a job file.
pub const MAX_JOB_BYTES: u64 = 200_000_000;
/// Bytes of `config.json`.
pub const MAX_CONFIG_BYTES: u64 = 16_000_000;

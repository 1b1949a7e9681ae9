//! Checkpoints: reading (checked before believed, mapped), grouping the parts of quantized weights,
//! laying out and writing (streamed, sharded, atomic).

mod buffers;
mod builder;
mod cast;
mod copy_tensor;
mod dequantize;
mod element_stream;
mod entries;
pub mod header;
mod header_json;
mod index;
mod layout;
pub mod limits;
mod locate;
mod order;
mod output;
mod partial_file;
mod planned;
mod positioned;
mod progress;
mod quantize;
mod quantize_weight;
mod reader;
mod shard;
mod shard_file;
mod size;
mod stage;
mod verify;
mod weights;
mod writer;

pub use builder::CheckpointBuilder;
pub use dequantize::{DequantizeTarget, dequantize_checkpoint};
pub use entries::{Entry, WeightEntry};
pub use layout::{Layout, LayoutOptions, OutputTensor, Place, ShardLayout, Unit};
pub use locate::{INDEX_FILE, SINGLE_FILE};
pub use order::natural_order;
pub use output::{OutputDirectory, SideContent, SideFile, side_files};
pub use planned::{dequantize_model, plan_as_written, quantized_config};
pub use progress::{Phase, Progress, ProgressFn, SaveOptions, SaveReport};
pub use quantize::quantize_checkpoint;
pub use reader::{Checkpoint, TensorEntry};
pub use shard::{ShardRule, shard_file_name, split};
pub use shard_file::{Mapping, ShardFile};
pub use size::{DEFAULT_MAX_SHARD_SIZE, parse_size};
pub use verify::{TensorCheck, Verdict, verify};
pub use writer::CheckpointWriter;

//! 4-bit weights as `transformers` and `bitsandbytes` write and read them, without Python: plan,
//! quantize, save, load, multiply. Everything else serves the C ABI and Rust programs alike.

pub mod backend;
pub mod bench;
pub mod checkpoint;
pub mod codebook;
pub mod config;
pub mod context;
pub mod device;
pub mod device_map;
pub mod dtype;
pub mod error;
pub mod ffi;
pub mod log;
pub mod memory;
mod pages;
pub mod plan;
pub mod quant;
pub mod shape;
pub mod tensor;
pub mod weight;

pub use context::Context;
pub use error::{Error, Result};
pub use weight::Weight;

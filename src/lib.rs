//! 4-bit weights as `transformers` and `bitsandbytes` write and read them, without Python: plan,
//! quantize, save, load, multiply. Everything else serves it and Rust
//! programs alike.

pub mod backend;
pub mod codebook;
pub mod config;
pub mod dtype;
pub mod error;
pub mod plan;
pub mod quant;
pub mod shape;

pub use error::{Error, Result};

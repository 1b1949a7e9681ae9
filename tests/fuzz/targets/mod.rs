//! What is fuzzed: one function per target, each taking any bytes. They are called by libFuzzer
//! (`bins/`, `tools/fuzz.sh`) and, with the kept corpus, by the ordinary test `fuzz_replay`.
//!
//! A target fails by panicking: by a broken promise that it checks, or inside the library.
#![allow(dead_code)]

mod json;
mod operands;
mod products;
mod tensors;
mod weights;

pub use json::{config, device_map, header, index, plan};
pub use products::gemm;
pub use tensors::tensor;
pub use weights::{image, weight_parts};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Name and function of every target; the name is that of its binary and of its corpus directory.
pub const TARGETS: &[(&str, Target)] = &[
    ("header", header),
    ("index", index),
    ("weight_parts", weight_parts),
    ("image", image),
    ("config", config),
    ("plan", plan),
    ("device_map", device_map),
    ("tensor", tensor),
    ("gemm", gemm),
];

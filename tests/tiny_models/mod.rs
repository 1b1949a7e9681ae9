//! Tiny models with the names, shapes and configs that real architectures have, and random weights.
#![allow(dead_code, unused_imports, reason = "each test program uses a part")]

mod decoders;
mod mixtures;
mod others;

use std::path::Path;

use fourbit::checkpoint::Checkpoint;
use fourbit::dtype::FloatType;
use serde_json::Value;

use crate::checkpoint_support::{Tensor, put, tensor, write_checkpoint};

pub use decoders::{bloom, falcon, gemma2, gpt2, llama, mamba, mistral, opt, qwen2, qwen3};
pub use mixtures::{gpt_oss, granitemoe, mixtral, qwen3_moe};
pub use others::{bert, t5};

/// A model of which nothing but names, shapes and values is known.
pub struct TinyModel {
    pub config: Value,
    pub tensors: Vec<Tensor>,
}

impl TinyModel {
    /// A model of `model_type`, saved by `class`; `rest` joins its config.
    pub fn new(model_type: &str, class: &str, rest: Value) -> Self {
        let mut config = serde_json::json!({
            "model_type": model_type, "architectures": [class], "torch_dtype": "bfloat16",
        });
        for (key, value) in rest.as_object().unwrap() {
            config[key] = value.clone();
        }
        TinyModel { config, tensors: Vec::new() }
    }

    /// Adds a bfloat16 tensor.
    pub fn add(&mut self, name: impl Into<String>, dims: &[u64]) -> &mut Self {
        self.add_as(name, FloatType::Bf16, dims)
    }

    /// Adds a tensor of another type.
    pub fn add_as(&mut self, name: impl Into<String>, dtype: FloatType, dims: &[u64]) -> &mut Self {
        let seed = self.tensors.len() as u64 + 1;
        // Test programs are short: names may live as long as they do.
        self.tensors.push(tensor(name.into().leak(), dtype, dims, seed));
        self
    }

    /// Adds `prefix.name.weight` for each.
    pub fn add_layers(&mut self, prefix: &str, layers: &[(&str, [u64; 2])]) -> &mut Self {
        for (name, dims) in layers {
            self.add(format!("{prefix}.{name}.weight"), dims);
        }
        self
    }

    /// Adds `prefix.name.weight` and `.bias` (as long as the first dimension) for each.
    pub fn add_biased(&mut self, prefix: &str, layers: &[(&str, [u64; 2])]) -> &mut Self {
        for (name, dims) in layers {
            self.add(format!("{prefix}.{name}.weight"), dims);
            self.add(format!("{prefix}.{name}.bias"), &dims[..1]);
        }
        self
    }

    /// Adds `prefix.name.weight` and `.bias` vectors for each.
    pub fn add_norms(&mut self, prefix: &str, names: &[&str], len: u64, bias: bool) -> &mut Self {
        for name in names {
            self.add(format!("{prefix}.{name}.weight"), &[len]);
            if bias {
                self.add(format!("{prefix}.{name}.bias"), &[len]);
            }
        }
        self
    }

    /// Writes config.json and one file of tensors, and opens them.
    pub fn write(&self, directory: &Path) -> Checkpoint {
        write_checkpoint(directory, &self.tensors, false);
        put(directory, "config.json", self.config.to_string().as_bytes());
        Checkpoint::open(directory).unwrap()
    }
}

//! Running the `fourbit` command, and checkpoints to run it on.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fourbit::dtype::FloatType;
use serde_json::Value;

use crate::checkpoint_support::{Tensor, tensor, write_checkpoint};

pub const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn fourbit(args: &[&str]) -> Run {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_fourbit")).args(args).output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    Run { code: status.code().expect("not ended by a signal"), out: text(stdout), err: text(stderr) }
}

pub fn ok(args: &[&str]) -> String {
    let run = fourbit(args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.err);
    run.out
}

pub fn json(args: &[&str]) -> Value {
    serde_json::from_str(&ok(args)).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A quantized copy of a model in a directory of its own.
pub fn quantized(model: &str, options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let mut args = vec!["quantize", model, text(&out), "--quiet"];
    args.extend(options);
    assert_eq!(ok(&args), "");
    (place, out)
}

/// A checkpoint of these tensors, with this config.
pub fn checkpoint(config: &Value, tensors: &[Tensor]) -> (tempfile::TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("model");
    write_checkpoint(&model, tensors, false);
    std::fs::write(model.join("config.json"), config.to_string()).unwrap();
    let path = text(&model).to_owned();
    (place, path)
}

/// Roughly normal bfloat16 tensors of these names and shapes.
pub fn tensors(shapes: &[(String, Vec<u64>)]) -> Vec<Tensor> {
    let make = |(i, (name, dims)): (usize, &(String, Vec<u64>))| {
        tensor(String::leak(name.clone()), FloatType::Bf16, dims, i as u64 + 1)
    };
    shapes.iter().enumerate().map(make).collect()
}

//! Safetensors files made by hand, so that they can also be wrong.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use fourbit::checkpoint::{
    Checkpoint, CheckpointWriter, Layout, LayoutOptions, OutputDirectory, OutputTensor, TensorEntry, Unit,
};
use fourbit::dtype::{DType, FloatType};
use fourbit::plan::{Action, Plan, PlanEntry, PlanOptions, SourceTensor};
use fourbit::shape::Shape;

/// A file image: length prefix, header, data.
pub fn image(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// A valid image of the given tensors: name, dtype, shape, bytes.
pub fn valid_image(tensors: &[(&str, &str, &[u64], Vec<u8>)]) -> Vec<u8> {
    let mut header = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let end = data.len() + bytes.len();
        header += &format!(
            ",{name:?}:{{\"dtype\":{dtype:?},\"shape\":{shape:?},\"data_offsets\":[{},{end}]}}",
            data.len()
        );
        data.extend_from_slice(bytes);
    }
    image(&(header + "}"), &data)
}

/// Writes a file below `directory`.
pub fn put(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The real checkpoint saved by transformers with bitsandbytes.
pub fn golden_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny_llama_nf4_dq.safetensors")
}

/// A tensor of a test checkpoint.
pub struct Tensor {
    pub name: &'static str,
    pub dtype: DType,
    pub shape: Shape,
    pub bytes: Vec<u8>,
}

/// Roughly normal values in a float type.
pub fn tensor(name: &'static str, dtype: FloatType, dims: &[u64], seed: u64) -> Tensor {
    let shape = Shape::new(dims).unwrap();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut unit = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let bytes = (0..shape.numel()).flat_map(|_| {
        let value = (unit() + unit() + unit() - 1.5) * 0.05;
        match dtype {
            FloatType::F32 => value.to_le_bytes().to_vec(),
            FloatType::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
            FloatType::Bf16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        }
    });
    Tensor { name, dtype: dtype.into(), shape, bytes: bytes.collect() }
}

/// Writes tensors as one file or, with `split`, as two shards and an index.
pub fn write_checkpoint(directory: &Path, tensors: &[Tensor], split: bool) {
    let units: Vec<Unit> = tensors
        .iter()
        .map(|t| Unit::plain(OutputTensor { name: t.name.into(), dtype: t.dtype, shape: t.shape }))
        .collect();
    let total: u64 = tensors.iter().map(|t| t.bytes.len() as u64).sum();
    let max_shard_size = if split { total / 2 + 1 } else { u64::MAX };
    let layout = Layout::new(&units, &LayoutOptions { max_shard_size, ..LayoutOptions::default() }).unwrap();
    let output = OutputDirectory::prepare(directory, None, false).unwrap();
    let writer = CheckpointWriter::create(output, &layout).unwrap();
    for (i, t) in tensors.iter().enumerate() {
        writer.write(&layout.places(i)[0], 0, &t.bytes).unwrap();
    }
    writer.finish(&[]).unwrap();
}

/// A plan that does to every tensor what `action` says.
pub fn plan_of(checkpoint: &Checkpoint, action: impl Fn(&TensorEntry) -> Action) -> Plan {
    let config = serde_json::json!({"model_type": "llama", "torch_dtype": "bfloat16"});
    let mut plan = Plan::new(&config, &[], &PlanOptions::default()).unwrap();
    plan.entries = checkpoint
        .tensors()
        .iter()
        .map(|t| PlanEntry {
            source: SourceTensor { name: t.name.clone(), dtype: t.dtype, shape: t.shape },
            action: action(t),
            reason: String::new(),
            bytes_before: t.byte_len(),
            bytes_after: 0,
            device: None,
        })
        .collect();
    plan
}

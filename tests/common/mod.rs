//! What several test programs share.
#![allow(dead_code, unused_imports)]

pub mod values;

pub use values::Random;

use fourbit::backend::cpu::CpuConfig;
use fourbit::codebook::QuantType;
use fourbit::dtype::{DType, FloatType};
use fourbit::quant::{BlockSize, QuantSpec};
use fourbit::shape::Shape;
use fourbit::tensor::TensorRef;
use fourbit::{Context, Weight};
use safetensors::SafeTensors;
use serde_json::Value;

/// Vectors made with bitsandbytes 0.50.2 on a CPU.
pub const GOLDEN: &[u8] = include_bytes!("../golden/golden_cpu_0.50.2.safetensors");

/// One golden quantization.
pub struct Case {
    pub name: String,
    pub spec: QuantSpec,
    pub dtype: FloatType,
    pub shape: Shape,
}

pub fn golden_cases() -> Vec<Case> {
    let (_, header) = SafeTensors::read_metadata(GOLDEN).unwrap();
    let cases: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let cases = cases.as_object().unwrap().iter().filter(|(name, _)| name.starts_with('c'));
    cases
        .map(|(name, c)| {
            let dims: Vec<u64> = c["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).collect();
            Case {
                name: name.clone(),
                spec: QuantSpec {
                    quant_type: QuantType::parse(c["quant_type"].as_str().unwrap()).unwrap(),
                    block_size: BlockSize::new(c["blocksize"].as_u64().unwrap()).unwrap(),
                    double_quant: c["nested"].as_bool().unwrap(),
                    ..Default::default()
                },
                dtype: FloatType::parse(c["dtype"].as_str().unwrap()).unwrap(),
                shape: Shape::new(&dims).unwrap(),
            }
        })
        .collect()
}

pub fn golden_file() -> SafeTensors<'static> {
    SafeTensors::deserialize(GOLDEN).unwrap()
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub fn context(threads: usize) -> Context {
    Context::cpu(CpuConfig { threads, ..Default::default() }).unwrap()
}

pub fn quantize_bytes(
    context: &Context,
    spec: &QuantSpec,
    bytes: &[u8],
    dtype: FloatType,
    shape: Shape,
) -> Weight {
    let source = TensorRef::from_bytes(bytes, DType::from(dtype), shape).unwrap();
    fourbit::quant::quantize(context, spec, source).unwrap()
}

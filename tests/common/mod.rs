//! What several test programs share.
#![allow(dead_code)]

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

/// Values of a small generator, so that a failure can be repeated: uniform bits, then roughly
/// normal numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.bits() >> 11) % n
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Roughly normal, standard deviation 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    pub fn normals(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.normal() * scale).collect()
    }
}

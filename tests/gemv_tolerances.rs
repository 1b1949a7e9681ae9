//! The limits that bitsandbytes sets its own products with one input row (`test_gemv_4bit` of its
//! `tests/test_functional.py`): errors against dequantizing and multiplying, by type and size.

#[path = "common/values.rs"]
mod values;

use fourbit::Context;
use fourbit::backend::cpu::{CpuConfig, Isa};
use fourbit::dtype::FloatType;
use fourbit::quant::{self, GemmOptions, QuantSpec};
use fourbit::shape::Shape;
use fourbit::tensor::{RawTensor, TensorMut, TensorRef};
use fourbit::weight::Weight;
use half::{bf16, f16};
use values::{Random, to_bytes};

/// Errors over the square root of the size: the mean that was seen, and the standard deviation. The
/// test fails seven of those above.
struct Limit {
    dtype: FloatType,
    small: (f64, f64),
    large: (f64, f64),
    /// How much the ratio of summed errors with and without quantization may differ from 1.
    ratio: f64,
}

const LIMITS: [Limit; 3] = [
    Limit { dtype: FloatType::F32, small: (2e-8, 2e-9), large: (1e-8, 2e-9), ratio: 0.005 },
    Limit { dtype: FloatType::F16, small: (5.2e-5, 6.3e-6), large: (1.8e-5, 2.8e-6), ratio: 0.005 },
    Limit { dtype: FloatType::Bf16, small: (4.2e-4, 5.9e-5), large: (1.4e-4, 9.5e-6), ratio: 0.005 },
];

fn floats(bytes: &[u8], dtype: FloatType) -> Vec<f32> {
    let pairs = |read: fn([u8; 2]) -> f32| bytes.chunks_exact(2).map(|b| read([b[0], b[1]])).collect();
    match dtype {
        FloatType::F32 => {
            bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        FloatType::F16 => pairs(|b| f16::from_ne_bytes(b).to_f32()),
        FloatType::Bf16 => pairs(|b| bf16::from_ne_bytes(b).to_f32()),
    }
}

/// A tensor to write to.
fn output(bytes: &mut [u8], dtype: FloatType, dims: &[u64]) -> TensorMut<'static> {
    let raw = RawTensor::new(bytes.as_mut_ptr(), dtype.into(), Shape::new(dims).unwrap(), None).unwrap();
    // SAFETY: compact; the callers' bytes outlive it and have this many elements.
    unsafe { TensorMut::from_raw(raw) }
}

/// `w · x`, as a wide accumulation leaves it: in `f64`, rounded once.
fn multiply(w: &[f32], x: &[f32], dtype: FloatType) -> Vec<f32> {
    let sums: Vec<f32> = w
        .chunks(x.len())
        .map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>() as f32)
        .collect();
    floats(&to_bytes(&sums, dtype), dtype)
}

fn tensor<'a>(bytes: &'a [u8], dtype: FloatType, dims: &[u64]) -> TensorRef<'a> {
    TensorRef::from_bytes(bytes, dtype.into(), Shape::new(dims).unwrap()).unwrap()
}

fn mean_difference(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / a.len() as f64
}

/// One drawing of the test: its operands, and what they give in full and in 4 bits.
struct Trial {
    input: Vec<u8>,
    weight: Weight,
    dequantized: Vec<f32>,
    unquantized: Vec<f32>,
}

impl Trial {
    fn new(dtype: FloatType, (n, k): (usize, usize), double: bool, random: &mut Random) -> Self {
        let context = Context::cpu(CpuConfig { threads: 1, ..CpuConfig::default() }).unwrap();
        let source = to_bytes(&random.normals(n * k, (1.0 / (k as f32)).sqrt()), dtype);
        let input = to_bytes(&random.normals(k, 1.0), dtype);
        let shape = [n as u64, k as u64];
        let spec = QuantSpec { double_quant: double, ..QuantSpec::default() };
        let weight = quant::quantize(&context, &spec, tensor(&source, dtype, &shape)).unwrap();
        let mut decoded = vec![0; source.len()];
        quant::dequantize(&context, &weight, &mut output(&mut decoded, dtype, &shape)).unwrap();
        let x = floats(&input, dtype);
        let dequantized = multiply(&floats(&decoded, dtype), &x, dtype);
        let unquantized = multiply(&floats(&source, dtype), &x, dtype);
        Trial { input, weight, dequantized, unquantized }
    }

    /// Mean errors: of the product against dequantized and against unquantized weights, and between
    /// these two.
    fn errors(&self, context: &Context, dtype: FloatType, (n, k): (usize, usize)) -> [f64; 3] {
        let mut bytes = vec![0; n * dtype.size()];
        let mut out = output(&mut bytes, dtype, &[1, n as u64]);
        let input = tensor(&self.input, dtype, &[1, k as u64]);
        quant::gemm(context, input, &self.weight, None, GemmOptions::default(), &mut out).unwrap();
        let ours = floats(&bytes, dtype);
        [
            mean_difference(&ours, &self.dequantized),
            mean_difference(&ours, &self.unquantized),
            mean_difference(&self.dequantized, &self.unquantized),
        ]
    }
}

fn check(arms: &[(Isa, Context)], limit: &Limit, dim: usize, shape: (usize, usize), double: bool) {
    let mut random = Random::new(dim as u64);
    let trials: Vec<Trial> = (0..2).map(|_| Trial::new(limit.dtype, shape, double, &mut random)).collect();
    for (isa, context) in arms {
        let mut sums = [0.0; 3];
        for trial in &trials {
            let errors = trial.errors(context, limit.dtype, shape);
            sums.iter_mut().zip(errors).for_each(|(sum, error)| *sum += error / trials.len() as f64);
        }
        let (mean, deviation) = if dim <= 512 { limit.small } else { limit.large };
        let error = sums[0] / (dim as f64).sqrt();
        let case = format!("{:?} {shape:?} double {double} on {isa}", limit.dtype);
        assert!(error < mean + 7.0 * deviation, "{case}: error {error:e}");
        let ratio = sums[1] / sums[2];
        assert!((ratio - 1.0).abs() < limit.ratio, "{case}: ratio {ratio}");
    }
}

#[test]
fn products_with_one_row_are_as_accurate_as_bitsandbytes_demands() {
    let supported = Isa::ALL.iter().copied().filter(|isa| isa.is_supported());
    let arms: Vec<(Isa, Context)> = supported
        .map(|isa| {
            let config = CpuConfig { isa_max: Some(isa), threads: 2, ..CpuConfig::default() };
            (isa, Context::cpu(config).unwrap())
        })
        .collect();
    for limit in &LIMITS {
        for (i, dim) in [128, 256, 512, 1024].into_iter().enumerate() {
            // Its "fc1", "fc2", "attn" and "attn_packed".
            for (j, shape) in
                [(4 * dim, dim), (dim, 4 * dim), (dim, dim), (3 * dim, dim)].into_iter().enumerate()
            {
                check(&arms, limit, dim, shape, (i + j) % 2 == 1);
            }
        }
    }
}

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

fn mean_difference(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / a.len() as f64
}

/// Mean errors: product against dequantized, product against unquantized, dequantized against that.
fn errors(
    context: &Context,
    dtype: FloatType,
    (n, k): (usize, usize),
    double: bool,
    random: &mut Random,
) -> [f64; 3] {
    let weight = to_bytes(&random.normals(n * k, (1.0 / (k as f32)).sqrt()), dtype);
    let x = to_bytes(&random.normals(k, 1.0), dtype);
    let tensor =
        |bytes, dims: &[u64]| TensorRef::from_bytes(bytes, dtype.into(), Shape::new(dims).unwrap()).unwrap();
    let spec = QuantSpec { double_quant: double, ..QuantSpec::default() };
    let quantized = quant::quantize(context, &spec, tensor(&weight, &[n as u64, k as u64])).unwrap();
    let mut bytes = vec![0; weight.len()];
    let mut decoded = output(&mut bytes, dtype, &[n as u64, k as u64]);
    quant::dequantize(context, &quantized, &mut decoded).unwrap();
    let mut y = vec![0; n * dtype.size()];
    let mut out = output(&mut y, dtype, &[1, n as u64]);
    let input = tensor(&x, &[1, k as u64]);
    quant::gemm(context, input, &quantized, None, GemmOptions::default(), &mut out).unwrap();
    let values = floats(&x, dtype);
    let ours = floats(&y, dtype);
    let dequantized = multiply(&floats(&bytes, dtype), &values, dtype);
    let unquantized = multiply(&floats(&weight, dtype), &values, dtype);
    [
        mean_difference(&ours, &dequantized),
        mean_difference(&ours, &unquantized),
        mean_difference(&dequantized, &unquantized),
    ]
}

fn check(context: &Context, isa: Isa, limit: &Limit, dim: usize, shape: (usize, usize), double: bool) {
    const TRIALS: usize = 3;
    let mut random = Random::new(dim as u64);
    let mut sums = [0.0; 3];
    for _ in 0..TRIALS {
        let trial = errors(context, limit.dtype, shape, double, &mut random);
        sums.iter_mut().zip(trial).for_each(|(sum, error)| *sum += error / TRIALS as f64);
    }
    let (mean, deviation) = if dim <= 512 { limit.small } else { limit.large };
    let error = sums[0] / (dim as f64).sqrt();
    let case = format!("{:?} {shape:?} double {double} on {isa}", limit.dtype);
    assert!(error < mean + 7.0 * deviation, "{case}: error {error:e}");
    let ratio = sums[1] / sums[2];
    assert!((ratio - 1.0).abs() < limit.ratio, "{case}: ratio {ratio}");
}

#[test]
fn products_with_one_row_are_as_accurate_as_bitsandbytes_demands() {
    for isa in Isa::ALL.iter().copied().filter(|isa| isa.is_supported()) {
        let config = CpuConfig { isa_max: Some(isa), threads: 2, ..CpuConfig::default() };
        let context = Context::cpu(config).unwrap();
        for limit in &LIMITS {
            for dim in [128, 256, 512, 1024] {
                // Its "fc1", "fc2", "attn" and "attn_packed".
                for shape in [(4 * dim, dim), (dim, 4 * dim), (dim, dim), (3 * dim, dim)] {
                    check(&context, isa, limit, dim, shape, dim % 512 == 0);
                }
            }
        }
    }
}

//! Random shapes, dtypes, block sizes, values, threads, arms and options against the slow reference of
//! `slow_reference`, for FOURBIT_SOAK_SECONDS seconds (4), from seed FOURBIT_SEED (1). The number of cases
//! is printed (`--nocapture`); the long form is `make soak`.

#[allow(dead_code)]
mod slow_reference;
#[path = "common/values.rs"]
mod values;

use std::time::{Duration, Instant};

use fourbit::backend::cpu::{CpuConfig, Isa};
use fourbit::codebook::{QuantType, Rule};
use fourbit::dtype::{DType, FloatType};
use fourbit::quant::{BlockSize, GemmOptions, QuantSpec, dequantize, gemm, quantize};
use fourbit::shape::Shape;
use fourbit::tensor::{RawTensor, TensorMut, TensorRef};
use fourbit::{Context, Weight};
use half::{bf16, f16};
use values::{Random, difficult, to_bytes};

const DTYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];

fn contexts() -> Vec<(String, Context)> {
    let mut all = Vec::new();
    for isa in Isa::ALL.iter().filter(|isa| isa.is_supported()) {
        for threads in [1, 2, 3, 5] {
            let config = CpuConfig { threads, isa_max: Some(*isa), parallel_for: None };
            all.push((format!("{isa}, {threads} threads"), Context::cpu(config).unwrap()));
        }
    }
    all
}

fn widened(bytes: &[u8], dtype: FloatType) -> Vec<f32> {
    let pairs = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        FloatType::F32 => bytes.chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect(),
        FloatType::F16 => pairs.map(|b| f16::from_ne_bytes(b).to_f32()).collect(),
        FloatType::Bf16 => pairs.map(|b| bf16::from_ne_bytes(b).to_f32()).collect(),
    }
}

fn narrowed(value: f32, dtype: FloatType) -> f32 {
    match dtype {
        FloatType::F32 => value,
        FloatType::F16 => f16::from_f32(value).to_f32(),
        FloatType::Bf16 => bf16::from_f32(value).to_f32(),
    }
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    widened(bytes, FloatType::F32)
}

/// The bytes of a part.
fn part<'a>(weight: &'a Weight, name: &str) -> &'a [u8] {
    weight.parts().find(|p| p.name == name).map(|p| p.bytes).unwrap_or_default()
}

/// The last field of the quant state; NaN and Infinity are written bare.
fn offset(weight: &Weight) -> f32 {
    let state = weight.parts().find(|p| p.name.starts_with("quant_state")).unwrap();
    let text = std::str::from_utf8(state.bytes).unwrap();
    let (_, number) = text.rsplit_once(": ").unwrap();
    number.trim_end_matches('}').parse::<f64>().unwrap() as f32
}

struct Case {
    what: String,
    spec: QuantSpec,
    dims: [usize; 2],
}

impl Case {
    fn new(random: &mut Random, place: &str) -> Case {
        let spec = QuantSpec {
            quant_type: [QuantType::Nf4, QuantType::Fp4][random.below(2)],
            rule: [Rule::BnbCpu, Rule::BnbCuda][random.below(2)],
            block_size: BlockSize::ALL[random.below(8)],
            double_quant: random.below(3) == 0,
            ..Default::default()
        };
        let largest = [20, 70, 300][random.below(3)];
        let widest = [40, 200, 1100][random.below(3)];
        let dims = [1 + random.below(largest), 1 + random.below(widest)];
        let what = format!("{dims:?}, {spec:?} on {place}");
        Case { what, spec, dims }
    }

    fn is_nf4(&self) -> bool {
        self.spec.quant_type == QuantType::Nf4
    }

    fn shape(&self) -> Shape {
        Shape::new(&self.dims.map(|d| d as u64)).unwrap()
    }

    /// Quantizes and checks every byte. Returns the weight and the scales to decode it with.
    fn quantized(&self, context: &Context, random: &mut Random, values: &[f32]) -> (Weight, Vec<f32>) {
        let dtype = DTYPES[random.below(3)];
        let bytes = to_bytes(values, dtype);
        let source = TensorRef::from_bytes(&bytes, dtype.into(), self.shape()).unwrap();
        let weight = quantize(context, &self.spec, source).unwrap();
        let is_cuda = self.spec.rule == Rule::BnbCuda;
        let block_size = self.spec.block_size.get();
        let (codes, scales) =
            slow_reference::quantize(self.is_nf4(), is_cuda, block_size, &widened(&bytes, dtype));
        assert!(part(&weight, "") == codes, "codes of {dtype:?} {}", self.what);
        let absmax = part(&weight, "absmax");
        if !self.spec.double_quant {
            let equal = floats(absmax).iter().zip(&scales).all(|(a, b)| same(*a, *b));
            assert!(equal && absmax.len() == scales.len() * 4, "absmax of {dtype:?} {}", self.what);
            return (weight, scales);
        }
        let (map, second) =
            (floats(part(&weight, "nested_quant_map")), floats(part(&weight, "nested_absmax")));
        let offset = offset(&weight);
        let scales: Vec<f32> =
            (0..scales.len()).map(|i| slow_reference::nested(absmax, &map, &second, offset, i)).collect();
        (weight, scales)
    }

    fn check_decoding(&self, context: &Context, random: &mut Random, weight: &Weight, scales: &[f32]) {
        if scales.iter().any(|s| s.is_nan()) {
            // What NaN times a code looks like is nobody's promise.
            return;
        }
        let (dtype, codes) = (DTYPES[random.below(3)], part(weight, ""));
        let mut bytes = vec![0u8; self.dims[0] * self.dims[1] * dtype.size()];
        let raw = RawTensor::new(bytes.as_mut_ptr(), dtype.into(), self.shape(), None).unwrap();
        // SAFETY: the bytes of that shape and dtype, borrowed until the call returns.
        dequantize(context, weight, &mut unsafe { TensorMut::from_raw(raw) }).unwrap();
        for (i, got) in widened(&bytes, dtype).iter().enumerate() {
            let exact = slow_reference::decode(self.is_nf4(), self.spec.block_size.get(), codes, scales, i);
            let expected = narrowed(exact, dtype);
            assert!(same(*got, expected), "element {i} as {dtype:?}: {got} not {expected}: {}", self.what);
        }
    }
}

/// How far a product may be from the exact one, as a share of the sum of its terms' magnitudes.
fn share(input: FloatType, options: GemmOptions) -> f64 {
    match input {
        _ if options.exact => 2f64.powi(-18),
        FloatType::F32 => 2f64.powi(-18),
        FloatType::F16 => 2f64.powi(-15),
        FloatType::Bf16 => 2f64.powi(-8),
    }
}

struct Matrix {
    dtype: FloatType,
    bytes: Vec<u8>,
    values: Vec<f32>,
    dims: [usize; 2],
}

impl Matrix {
    fn new(random: &mut Random, dims: [usize; 2]) -> Matrix {
        let dtype = DTYPES[random.below(3)];
        let bytes = to_bytes(&random.normals(dims[0] * dims[1], 1.0), dtype);
        Matrix { dtype, values: widened(&bytes, dtype), bytes, dims }
    }

    fn view(&self) -> TensorRef<'_> {
        let shape = Shape::new(&self.dims.map(|d| d as u64)).unwrap();
        TensorRef::from_bytes(&self.bytes, DType::from(self.dtype), shape).unwrap()
    }
}

impl Case {
    fn check_product(&self, random: &mut Random, contexts: [&Context; 2], weight: &Weight, scales: &[f32]) {
        let most = [3, 9, 40][random.below(3)];
        let m = random.below(most);
        let options = GemmOptions {
            transpose: random.below(3) == 0,
            accumulate: random.below(4) == 0,
            exact: random.below(4) == 0,
        };
        let [n, k] = self.dims;
        let (inner, outer) = if options.transpose { (n, k) } else { (k, n) };
        let input = Matrix::new(random, [m, inner]);
        let mut outputs = [Matrix::new(random, [m, outer]), Matrix::new(random, [0, 0])];
        let before = outputs[0].values.clone();
        outputs[1] = Matrix { bytes: outputs[0].bytes.clone(), values: vec![], ..outputs[0] };
        for (context, output) in contexts.into_iter().zip(&mut outputs) {
            let shape = Shape::new(&[m as u64, outer as u64]).unwrap();
            let raw = RawTensor::new(output.bytes.as_mut_ptr(), output.dtype.into(), shape, None).unwrap();
            // SAFETY: the bytes of that shape and dtype, borrowed until the call returns.
            let mut view = unsafe { TensorMut::from_raw(raw) };
            gemm(context, input.view(), weight, None, options, &mut view).unwrap();
        }
        let what = format!("m {m} {:?} to {:?}, {options:?}, {}", input.dtype, outputs[0].dtype, self.what);
        assert!(outputs[0].bytes == outputs[1].bytes, "threads change the bits: {what}");
        let codes = part(weight, "");
        let got = widened(&outputs[0].bytes, outputs[0].dtype);
        for at in 0..m * outer {
            let (row, column) = (at / outer, at % outer);
            let start = if options.accumulate { f64::from(before[at]) } else { 0.0 };
            let (mut sum, mut size) = (start, start.abs());
            for i in 0..inner {
                let index = if options.transpose { i * k + column } else { column * k + i };
                let factor =
                    slow_reference::decode(self.is_nf4(), self.spec.block_size.get(), codes, scales, index);
                let term = f64::from(input.values[row * inner + i]) * f64::from(factor);
                sum += term;
                size += term.abs();
            }
            let rounding = match outputs[0].dtype {
                FloatType::F32 => 2f64.powi(-24),
                FloatType::F16 => 2f64.powi(-11),
                FloatType::Bf16 => 2f64.powi(-8),
            };
            let bound = size * share(input.dtype, options) * (1.0 + rounding) + sum.abs() * rounding + 1e-6;
            let error = (f64::from(got[at]) - sum).abs();
            assert!(error <= bound, "[{row}, {column}]: {} not {sum} ± {bound}: {what}", got[at]);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

#[test]
fn random_cases_agree_with_the_slow_reference() {
    let (seed, seconds) = (number("FOURBIT_SEED", 1), number("FOURBIT_SOAK_SECONDS", 4));
    let (contexts, mut random, started) = (contexts(), Random::new(seed), Instant::now());
    let (mut cases, mut products) = (0u64, 0u64);
    while started.elapsed() < Duration::from_secs(seconds) || cases < contexts.len() as u64 {
        let at = cases as usize % contexts.len();
        let (place, context) = &contexts[at];
        let case = Case::new(&mut random, &format!("{place}, seed {seed}, case {cases}"));
        let count = case.dims[0] * case.dims[1];
        let values = difficult(&mut random, count, case.spec.block_size.get());
        let (weight, scales) = case.quantized(context, &mut random, &values);
        case.check_decoding(context, &mut random, &weight, &scales);
        cases += 1;
        if count < 40_000 {
            let (weight, scales) = {
                let values = random.normals(count, 0.05);
                case.quantized(context, &mut random, &values)
            };
            // The next context of the list differs in its threads, except at the seams.
            let other = if at % 4 == 3 { at - 1 } else { at + 1 };
            case.check_product(&mut random, [context, &contexts[other].1], &weight, &scales);
            products += 1;
        }
    }
    println!("seed {seed}: {cases} weights and {products} products, 0 mismatches, {:?}", started.elapsed());
}

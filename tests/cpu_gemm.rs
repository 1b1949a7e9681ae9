//! Products of every arm against sums in `f64`.

use fourbit::backend::cpu::{CpuBackend, CpuConfig, Isa};
use fourbit::backend::{Backend, GemmJob, Scales, WeightRef};
use fourbit::codebook::QuantType;
use fourbit::dtype::FloatType;
use fourbit::quant::BlockSize;
use half::{bf16, f16};

/// Deterministic values in [-1, 1).
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Elements of `dtype` behind one odd byte, and what they are worth.
struct Floats {
    dtype: FloatType,
    bytes: Vec<u8>,
}

impl Floats {
    fn new(dtype: FloatType, values: &[f32]) -> Self {
        let mut bytes = vec![0xee];
        for v in values {
            match dtype {
                FloatType::F32 => bytes.extend(v.to_le_bytes()),
                FloatType::F16 => bytes.extend(f16::from_f32(*v).to_le_bytes()),
                FloatType::Bf16 => bytes.extend(bf16::from_f32(*v).to_le_bytes()),
            }
        }
        Floats { dtype, bytes }
    }

    fn get(&self, i: usize) -> f64 {
        let b = &self.bytes[1 + i * self.dtype.size()..];
        match self.dtype {
            FloatType::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
            FloatType::F16 => f16::from_le_bytes([b[0], b[1]]).into(),
            FloatType::Bf16 => bf16::from_le_bytes([b[0], b[1]]).into(),
        }
    }

    /// The largest relative error of rounding to the type.
    fn unit(&self) -> f64 {
        match self.dtype {
            FloatType::F32 => 2f64.powi(-24),
            FloatType::F16 => 2f64.powi(-11),
            FloatType::Bf16 => 2f64.powi(-8),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Problem {
    m: usize,
    n: usize,
    k: usize,
    block_size: u64,
    dtype: FloatType,
    transpose: bool,
    bias: bool,
    accumulate: bool,
    double: bool,
}

/// Runs the problem with padded rows and compares; returns the output's bytes.
fn check(backend: &CpuBackend, p: Problem) -> Vec<u8> {
    let mut random = noise((p.m * 31 + p.n * 7 + p.k) as u64);
    let block_size = BlockSize::new(p.block_size).unwrap();
    let codes: Vec<u8> = (0..(p.n * p.k).div_ceil(2)).map(|_| (random() * 128.0) as i8 as u8).collect();
    let blocks = (p.n * p.k).div_ceil(block_size.get());
    let absmax: Vec<f32> = (0..blocks).map(|_| random().abs() + 0.1).collect();
    let (scale_codes, map): (Vec<u8>, Vec<f32>) =
        ((0..blocks).map(|b| (b * 37) as u8).collect(), (0..256).map(|_| random()).collect());
    let scales = if p.double {
        Scales::Double {
            codes: scale_codes.as_ptr(),
            map: map.as_ptr(),
            nested_absmax: absmax.as_ptr(),
            nested_shift: 8,
            offset: 0.25,
        }
    } else {
        Scales::Plain { absmax: absmax.as_ptr() }
    };
    let scale = |b: usize| {
        if p.double { map[scale_codes[b] as usize] * absmax[b >> 8] + 0.25 } else { absmax[b] }
    };
    let codebook = *QuantType::Nf4.codebook();
    let weight = |i: usize| {
        let nibble = codes[i / 2] >> (4 - i % 2 * 4) & 15;
        f64::from(codebook[nibble as usize]) * f64::from(scale(i / block_size.get()))
    };
    let (depth, width) = if p.transpose { (p.n, p.k) } else { (p.k, p.n) };
    let (input_stride, output_stride) = (depth + 3, width + 5);
    let mut many = |count: usize| Floats::new(p.dtype, &(0..count).map(|_| random()).collect::<Vec<_>>());
    let (input, bias, before) = (many(p.m * input_stride), many(width), many(p.m * output_stride));
    let mut output = Floats { dtype: p.dtype, bytes: before.bytes.clone() };
    let job = GemmJob {
        m: p.m as u64,
        n: p.n as u64,
        k: p.k as u64,
        input: input.bytes[1..].as_ptr(),
        input_type: p.dtype,
        input_stride: input_stride as i64,
        weight: WeightRef { codes: codes.as_ptr(), codebook, block_size, scales },
        bias: if p.bias { bias.bytes[1..].as_ptr() } else { std::ptr::null() },
        bias_type: p.dtype,
        output: output.bytes[1..].as_mut_ptr(),
        output_type: p.dtype,
        output_stride: output_stride as i64,
        accumulate: p.accumulate,
        transpose: p.transpose,
        exact: true,
    };
    // SAFETY: the buffers have the sizes that the job implies.
    unsafe { backend.gemm(&job) }.unwrap();
    for (row, column) in (0..p.m).flat_map(|r| (0..output_stride).map(move |c| (r, c))) {
        let at = row * output_stride + column;
        if column >= width {
            assert_eq!(output.get(at), before.get(at), "{p:?}: wrote between rows");
            continue;
        }
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for i in 0..depth {
            let w = weight(if p.transpose { i * p.k + column } else { column * p.k + i });
            let term = input.get(row * input_stride + i) * w;
            (sum, magnitude) = (sum + term, magnitude + term.abs());
        }
        let extra = [(p.bias, bias.get(column)), (p.accumulate, before.get(at))];
        for (_, v) in extra.iter().filter(|(on, _)| *on) {
            (sum, magnitude) = (sum + v, magnitude + v.abs());
        }
        let limit = magnitude * 2f64.powi(-20) + sum.abs() * output.unit();
        let error = (output.get(at) - sum).abs();
        assert!(error <= limit, "{p:?} on {} at [{row}, {column}]: error {error:e}", backend.isa());
    }
    output.bytes
}

fn problems() -> Vec<Problem> {
    let mut all = Vec::new();
    let shapes = [
        (1, 1, 1),
        (1, 5, 33),
        (3, 17, 100),
        (2, 64, 256),
        (9, 3, 700),
        (16, 33, 65),
        (0, 4, 4),
        (4, 0, 4),
        (4, 4, 0),
    ];
    let dtypes = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    for (i, (m, n, k)) in shapes.into_iter().enumerate() {
        for (j, dtype) in dtypes.into_iter().enumerate() {
            for flags in 0..16 {
                let bit = |b: usize| flags >> b & 1 == 1;
                let block_size = 32 << ((i + j + flags) % 8);
                let (transpose, bias, accumulate, double) = (bit(0), bit(1), bit(2), bit(3));
                all.push(Problem { m, n, k, block_size, dtype, transpose, bias, accumulate, double });
            }
        }
    }
    all
}

#[test]
fn every_arm_agrees_with_sums_in_f64_for_any_number_of_threads() {
    for isa in Isa::ALL.iter().filter(|isa| isa.is_supported()) {
        let backend = |threads| {
            CpuBackend::new(CpuConfig { threads, isa_max: Some(*isa), ..Default::default() }).unwrap()
        };
        let (one, three) = (backend(1), backend(3));
        for p in problems() {
            assert!(check(&one, p) == check(&three, p), "{p:?} on {isa}: threads change the result");
        }
    }
}

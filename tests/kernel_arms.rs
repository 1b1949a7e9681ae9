//! Every arm's quantize and dequantize against the portable one, bit for bit.

#[path = "common/float_env.rs"]
mod float_env;
#[path = "common/guard.rs"]
mod guard;
#[path = "common/values.rs"]
mod values;

use fourbit::backend::cpu::{CpuBackend, CpuConfig, Isa};
use fourbit::backend::{Backend, DequantizeJob, QuantizeJob, Scales, WeightRef};
use fourbit::codebook::{QuantType, Rule};
use fourbit::dtype::FloatType;
use fourbit::quant::BlockSize;
use guard::{Edge, Guarded};
use values::{Random, difficult, to_bytes};

const DTYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];
const TABLES: [(QuantType, Rule); 4] = [
    (QuantType::Nf4, Rule::BnbCpu),
    (QuantType::Nf4, Rule::BnbCuda),
    (QuantType::Fp4, Rule::BnbCpu),
    (QuantType::Fp4, Rule::BnbCuda),
];

fn backend(isa: Isa, threads: usize) -> CpuBackend {
    CpuBackend::new(CpuConfig { threads, isa_max: Some(isa), parallel_for: None }).unwrap()
}

/// All arms of this machine but the portable one, newest first.
fn arms() -> Vec<CpuBackend> {
    let supported = Isa::ALL.iter().rev().filter(|isa| isa.is_supported() && **isa != Isa::Portable);
    supported.map(|isa| backend(*isa, 1)).collect()
}

/// Element counts around every seam: odd, partial blocks, vector steps, runs.
fn counts(block_size: usize) -> Vec<usize> {
    let around = [block_size, 128, 128 + block_size, 2048, 2048 + block_size, 3 * block_size.max(2048)];
    let mut counts = vec![0, 1, 2, 31, 33];
    counts.extend(around.iter().flat_map(|n| [n - 1, *n, n + 1, n + 37]));
    counts
}

struct Quantized {
    codes: Vec<u8>,
    absmax: Vec<u8>,
}

/// Quantizes `source`, every buffer at one edge of its pages.
fn quantize(backend: &CpuBackend, source: &[u8], like: &QuantizeJob, edge: Edge) -> Quantized {
    let blocks = (like.numel as usize).div_ceil(like.block_size.get());
    let source = Guarded::new(source, edge);
    let codes = Guarded::new(&vec![0xa5; like.numel.div_ceil(2) as usize], edge);
    let absmax = Guarded::of_f32(&vec![-7.0; blocks], edge);
    let job = QuantizeJob { source: source.ptr(), codes: codes.ptr(), absmax: absmax.ptr().cast(), ..*like };
    // SAFETY: the buffers have the sizes that the job implies.
    unsafe { backend.quantize(&job) }.unwrap();
    Quantized { codes: codes.bytes().to_vec(), absmax: absmax.bytes().to_vec() }
}

fn quantize_job(
    numel: usize,
    source_type: FloatType,
    block_size: BlockSize,
    table: (QuantType, Rule),
) -> QuantizeJob {
    QuantizeJob {
        source: std::ptr::null(),
        source_type,
        numel: numel as u64,
        block_size,
        quant_type: table.0,
        rule: table.1,
        codes: std::ptr::null_mut(),
        absmax: std::ptr::null_mut(),
    }
}

fn assert_same(expected: &Quantized, got: &Quantized, what: &str) {
    assert!(expected.absmax == got.absmax, "absmax of {what}");
    let differs = expected.codes.iter().zip(&got.codes).position(|(a, b)| a != b);
    if let Some(at) = differs {
        panic!("byte {at} of {what}: {:02x} instead of {:02x}", got.codes[at], expected.codes[at]);
    }
}

#[test]
fn quantize_is_the_same_on_every_arm() {
    let (portable, arms) = (backend(Isa::Portable, 1), arms());
    let mut random = Random::new(1);
    for (block_size, dtype) in BlockSize::ALL.iter().flat_map(|b| DTYPES.map(|d| (*b, d))) {
        for numel in counts(block_size.get()) {
            let source = to_bytes(&difficult(&mut random, numel, block_size.get()), dtype);
            for table in TABLES {
                let job = quantize_job(numel, dtype, block_size, table);
                let expected = quantize(&portable, &source, &job, Edge::End);
                for (backend, edge) in arms.iter().flat_map(|b| [(b, Edge::Start), (b, Edge::End)]) {
                    let what = format!("{numel} {dtype:?}, {block_size:?}, {table:?} on {}", backend.isa());
                    assert_same(&expected, &quantize(backend, &source, &job, edge), &what);
                }
            }
        }
    }
}

#[test]
fn quantize_treats_every_16_bit_pattern_alike() {
    let (portable, arms) = (backend(Isa::Portable, 1), arms());
    // Neighbours share a block, so that the absmax is near; and all beside a one.
    let near: Vec<u16> = (0..=u16::MAX).collect();
    for (dtype, one) in [(FloatType::Bf16, 0x3f80), (FloatType::F16, 0x3c00)] {
        let beside_one: Vec<u16> = near.chunks(31).flat_map(|c| [&[one], c].concat()).collect();
        for (patterns, table) in [&near, &beside_one].into_iter().flat_map(|p| TABLES.map(|t| (p, t))) {
            let source: Vec<u8> = patterns.iter().flat_map(|p| p.to_ne_bytes()).collect();
            let job = quantize_job(patterns.len(), dtype, BlockSize::new(32).unwrap(), table);
            let expected = quantize(&portable, &source, &job, Edge::End);
            for backend in &arms {
                let what = format!("all patterns of {dtype:?}, {table:?} on {}", backend.isa());
                assert_same(&expected, &quantize(backend, &source, &job, Edge::End), &what);
            }
        }
    }
}

/// A weight with difficult scales, each buffer at one edge of its pages.
struct Weight {
    codes: Guarded,
    absmax: Guarded,
    scale_codes: Guarded,
    map: Guarded,
    nested_absmax: Guarded,
    block_size: BlockSize,
}

impl Weight {
    fn new(random: &mut Random, numel: usize, block_size: BlockSize, edge: Edge) -> Self {
        let blocks = numel.div_ceil(block_size.get());
        let codes: Vec<u8> = (0..numel.div_ceil(2)).map(|_| random.bits() as u8).collect();
        let scale_codes: Vec<u8> = (0..blocks).map(|_| random.bits() as u8).collect();
        let map: Vec<f32> = (0..256).map(|_| random.unit()).collect();
        let nested: Vec<f32> = (0..blocks.div_ceil(256)).map(|_| random.unit()).collect();
        Weight {
            codes: Guarded::new(&codes, edge),
            absmax: Guarded::of_f32(&difficult(random, blocks, 3), edge),
            scale_codes: Guarded::new(&scale_codes, edge),
            map: Guarded::of_f32(&map, edge),
            nested_absmax: Guarded::of_f32(&nested, edge),
            block_size,
        }
    }

    fn job(&self, numel: usize, double: bool, output: *mut u8, output_type: FloatType) -> DequantizeJob {
        let scales = if double {
            Scales::Double {
                codes: self.scale_codes.ptr(),
                map: self.map.ptr().cast(),
                nested_absmax: self.nested_absmax.ptr().cast(),
                nested_shift: 8,
                offset: 0.375,
            }
        } else {
            Scales::Plain { absmax: self.absmax.ptr().cast() }
        };
        let quant_type = if double { QuantType::Fp4 } else { QuantType::Nf4 };
        let weight = WeightRef {
            codes: self.codes.ptr(),
            codebook: *quant_type.codebook(),
            block_size: self.block_size,
            scales,
        };
        DequantizeJob { weight, numel: numel as u64, output, output_type }
    }

    fn dequantize(
        &self,
        backend: &CpuBackend,
        numel: usize,
        double: bool,
        dtype: FloatType,
        edge: Edge,
    ) -> Guarded {
        let output = Guarded::new(&vec![0xa5; numel * dtype.size()], edge);
        // SAFETY: the buffers have the sizes that the job implies.
        unsafe { backend.dequantize(&self.job(numel, double, output.ptr(), dtype)) }.unwrap();
        output
    }
}

#[test]
fn dequantize_is_the_same_on_every_arm() {
    let (portable, arms) = (backend(Isa::Portable, 1), arms());
    let mut random = Random::new(2);
    for (block_size, edge) in BlockSize::ALL.iter().flat_map(|b| [(*b, Edge::Start), (*b, Edge::End)]) {
        for numel in counts(block_size.get()) {
            let weight = Weight::new(&mut random, numel, block_size, edge);
            for (dtype, double) in DTYPES.iter().flat_map(|d| [(*d, false), (*d, true)]) {
                let expected = weight.dequantize(&portable, numel, double, dtype, edge);
                for backend in &arms {
                    let got = weight.dequantize(backend, numel, double, dtype, edge);
                    let what = format!("{numel} {dtype:?}, {block_size:?}, double {double}");
                    assert!(got.bytes() == expected.bytes(), "{what} on {}", backend.isa());
                }
            }
        }
    }
}

/// Outputs that are streamed past the caches, at every alignment that matters.
#[test]
fn large_outputs_are_the_same_at_any_alignment() {
    let (portable, arms) = (backend(Isa::Portable, 1), arms());
    let numel = (4 << 20) / 2 + 77;
    let block_size = BlockSize::DEFAULT;
    let weight = Weight::new(&mut Random::new(3), numel, block_size, Edge::End);
    let expected = weight.dequantize(&portable, numel, false, FloatType::Bf16, Edge::End);
    for backend in &arms {
        for offset in [0, 1, 2, 16, 63] {
            let mut output = vec![0xa5u8; numel * 2 + 128];
            let start = output.as_ptr().align_offset(64) + offset;
            let job = weight.job(numel, false, output[start..].as_mut_ptr(), FloatType::Bf16);
            // SAFETY: room for `numel` elements behind `start`.
            unsafe { backend.dequantize(&job) }.unwrap();
            let (before, rest) = output.split_at(start);
            let (got, after) = rest.split_at(numel * 2);
            assert!(got == expected.bytes(), "offset {offset} on {}", backend.isa());
            assert!(before.iter().chain(after).all(|b| *b == 0xa5), "offset {offset}: wrote outside");
        }
    }
}

#[test]
fn threads_change_nothing_and_serial_calls_agree() {
    let mut random = Random::new(4);
    let numel = 3 * (1 << 16) + 4097;
    for isa in Isa::ALL.iter().filter(|isa| isa.is_supported()) {
        let (one, three) = (backend(*isa, 1), backend(*isa, 3));
        for block_size in [BlockSize::new(32).unwrap(), BlockSize::new(4096).unwrap()] {
            let source = to_bytes(&difficult(&mut random, numel, block_size.get()), FloatType::F32);
            let job = quantize_job(numel, FloatType::F32, block_size, TABLES[0]);
            let expected = quantize(&one, &source, &job, Edge::End);
            assert_same(
                &expected,
                &quantize(&three, &source, &job, Edge::End),
                &format!("3 threads on {isa}"),
            );
            let (mut codes, mut absmax) = (expected.codes.clone(), vec![0f32; numel.div_ceil(32)]);
            codes.fill(0);
            let (source, codes_ptr) = (source.as_ptr(), codes.as_mut_ptr());
            let serial = QuantizeJob { source, codes: codes_ptr, absmax: absmax.as_mut_ptr(), ..job };
            // SAFETY: the buffers have the sizes that the job implies.
            unsafe { three.quantize_serial(&serial) };
            assert!(codes == expected.codes, "serial quantize on {isa}");

            let weight = Weight::new(&mut random, numel, block_size, Edge::End);
            let expected = weight.dequantize(&one, numel, true, FloatType::F16, Edge::End);
            let threaded = weight.dequantize(&three, numel, true, FloatType::F16, Edge::End);
            let mut output = vec![0u8; numel * 2];
            // SAFETY: as above.
            unsafe { three.dequantize_serial(&weight.job(numel, true, output.as_mut_ptr(), FloatType::F16)) };
            assert!(
                threaded.bytes() == expected.bytes() && output == expected.bytes(),
                "dequantize on {isa}"
            );
        }
    }
}

/// What the caller left in the floating-point control register must not show.
#[test]
fn a_callers_flush_to_zero_and_rounding_mode_change_nothing() {
    let numel = 1 << 17;
    let source = to_bytes(&difficult(&mut Random::new(5), numel, 64), FloatType::F32);
    for isa in Isa::ALL.iter().filter(|isa| isa.is_supported()) {
        for (threads, table) in [1, 2].into_iter().flat_map(|t| TABLES.map(|table| (t, table))) {
            let backend = backend(*isa, threads);
            let job = quantize_job(numel, FloatType::F32, BlockSize::DEFAULT, table);
            let expected = quantize(&backend, &source, &job, Edge::End);
            float_env::set(float_env::FLUSH_AND_ROUND_UP);
            let got = quantize(&backend, &source, &job, Edge::End);
            float_env::set(float_env::DEFAULT);
            assert_same(&expected, &got, &format!("{table:?}, {threads} threads on {isa}"));
        }
    }
}

//! `cargo bench --bench gemm [-- --threads N --isa NAME --shape ROWSxCOLUMNS]`: products against a
//! read of the weight's bytes, timed in turn. Weights rotate through 1.3 GB, to be cold.

use std::time::Duration;

use fourbit::backend::cpu::{CpuBackend, CpuConfig, Isa};
use fourbit::backend::{Backend, GemmJob, Scales, WeightRef};
use fourbit::bench::{Arena, measure_in_turn, read};
use fourbit::codebook::{DYNAMIC_MAP, QuantType};
use fourbit::dtype::FloatType;
use fourbit::quant::BlockSize;

const BUDGET: Duration = Duration::from_millis(800);
const SHAPES: [(usize, usize); 3] = [(14336, 4096), (4096, 4096), (576, 1536)];

fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.next().and_then(|_| args.next())
}

/// What is multiplied.
#[derive(Clone, Copy)]
struct Product {
    m: usize,
    n: usize,
    k: usize,
    dtype: FloatType,
    block_size: BlockSize,
    double: bool,
    transpose: bool,
}

impl Product {
    /// Bytes of codes and scales.
    fn weight_bytes(&self) -> (usize, usize) {
        let blocks = self.n * self.k / self.block_size.get();
        (self.n * self.k / 2, if self.double { blocks } else { blocks * 4 })
    }

    fn name(&self) -> String {
        let what = if self.transpose { "transposed" } else { "forward" };
        let scales = if self.double { "double" } else { "plain" };
        format!("{what} {} block {} {scales} M={}", self.dtype.torch_name(), self.block_size.get(), self.m)
    }
}

fn main() {
    let threads = option("--threads").map_or(0, |t| t.parse().expect("--threads takes a number"));
    let isa_max = option("--isa").map(|name| Isa::parse(&name).expect("--isa takes an instruction set"));
    let backend = CpuBackend::new(CpuConfig { threads, isa_max, parallel_for: None }).unwrap();
    let (mut weights, mut reads) = (Arena::new(5 << 28), Arena::new(5 << 28));
    let only = option("--shape");
    for (n, k) in SHAPES.into_iter().filter(|(n, k)| only.as_ref().is_none_or(|o| *o == format!("{n}x{k}"))) {
        println!("{n}x{k}, {} threads, {}", backend.threads(), backend.isa());
        println!(
            "{:44} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9}",
            "operation", "us", "fastest", "read us", "fastest", "of read", "GFLOP/s"
        );
        for product in products(n, k) {
            report(&backend, &product, &mut weights, &mut reads);
        }
    }
}

fn products(n: usize, k: usize) -> Vec<Product> {
    let (block_size, dtype) = (BlockSize::DEFAULT, FloatType::Bf16);
    let plain = Product { m: 1, n, k, dtype, block_size, double: false, transpose: false };
    let mut all = vec![Product { double: true, ..plain }];
    for dtype in [FloatType::Bf16, FloatType::F16, FloatType::F32] {
        all.extend([1, 2, 4, 8, 16, 32, 64, 256].map(|m| Product { m, dtype, ..plain }));
    }
    for dtype in [FloatType::Bf16, FloatType::F32] {
        all.extend([1, 16, 256].map(|m| Product { m, dtype, transpose: true, ..plain }));
    }
    all.push(Product { m: 2048, ..plain });
    all
}

/// Times the product and a read of as many bytes as the weight has, in turn.
fn report(backend: &CpuBackend, product: &Product, weights: &mut Arena, reads: &mut Arena) {
    let (codes_bytes, scale_bytes) = product.weight_bytes();
    let (depth, width) = if product.transpose { (product.n, product.k) } else { (product.k, product.n) };
    // Values of magnitude one in every type, so that no product is special.
    let input: Vec<u8> = (0..product.m * depth).flat_map(|i| one(product.dtype, i % 3 == 0)).collect();
    let mut output = vec![0u8; product.m * width * product.dtype.size()];
    let nested = vec![1f32; product.n * product.k / product.block_size.get() / 256 + 1];
    let mut multiply = || {
        let (codes, scales) = (weights.slot(codes_bytes), weights.slot(scale_bytes));
        let scales = match product.double {
            false => Scales::Plain { absmax: scales.cast() },
            true => Scales::Double {
                codes: scales,
                map: DYNAMIC_MAP.as_ptr(),
                nested_absmax: nested.as_ptr(),
                nested_shift: 8,
                offset: 0.5,
            },
        };
        let codebook = *QuantType::Nf4.codebook();
        let job = GemmJob {
            m: product.m as u64,
            n: product.n as u64,
            k: product.k as u64,
            input: input.as_ptr(),
            input_type: product.dtype,
            input_stride: depth as i64,
            weight: WeightRef { codes, codebook, block_size: product.block_size, scales },
            bias: std::ptr::null(),
            bias_type: product.dtype,
            output: output.as_mut_ptr(),
            output_type: product.dtype,
            output_stride: width as i64,
            accumulate: false,
            transpose: product.transpose,
            exact: false,
        };
        // SAFETY: the buffers have the sizes that the job implies.
        unsafe { backend.gemm(&job) }.expect("scratch memory");
    };
    let bytes = codes_bytes + scale_bytes;
    // SAFETY: the slot has that many bytes.
    let mut read_all = || unsafe { read(backend.runner(), reads.slot(bytes), bytes) };
    let [times, reading] = measure_in_turn(BUDGET, &mut [&mut multiply, &mut read_all])[..] else {
        return;
    };
    let operations = 2.0 * (product.m * product.n * product.k) as f64;
    println!(
        "{:44} {:9.1} {:9.1} {:9.1} {:9.1} {:7.0}% {:9.0}",
        product.name(),
        times.median * 1e6,
        times.fastest * 1e6,
        reading.median * 1e6,
        reading.fastest * 1e6,
        100.0 * reading.median / times.median,
        operations / times.median / 1e9
    );
}

/// The bytes of 1 or -1.
fn one(dtype: FloatType, negative: bool) -> Vec<u8> {
    let value = if negative { -1f32 } else { 1f32 };
    match dtype {
        FloatType::F32 => value.to_ne_bytes().to_vec(),
        FloatType::F16 => half::f16::from_f32(value).to_ne_bytes().to_vec(),
        FloatType::Bf16 => half::bf16::from_f32(value).to_ne_bytes().to_vec(),
    }
}

//! `cargo bench --bench cpu [-- --threads N] [-- --isa NAME]`: quantize and dequantize against the
//! bandwidth that a copy reaches in the same run. Operands rotate through
//! 1.6 GB each, to be cold.

use std::time::Duration;

use fourbit::backend::cpu::{CpuBackend, CpuConfig, Isa};
use fourbit::backend::{Backend, DequantizeJob, QuantizeJob, Scales, WeightRef};
use fourbit::bench::{Arena, Roofline, Timing, measure};
use fourbit::codebook::{QuantType, Rule};
use fourbit::dtype::FloatType;
use fourbit::quant::BlockSize;

const ROWS: usize = 14336;
const COLUMNS: usize = 4096;
const NUMEL: usize = ROWS * COLUMNS;
const BUDGET: Duration = Duration::from_millis(400);
const DTYPES: [FloatType; 3] = [FloatType::Bf16, FloatType::F16, FloatType::F32];

/// Inputs keep the plausible values they are made with.
struct Arenas {
    input: Arena,
    output: Arena,
}

fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.next().and_then(|_| args.next())
}

fn main() {
    let threads = option("--threads").map_or(0, |t| t.parse().expect("--threads takes a number"));
    let isa_max = option("--isa").map(|name| Isa::parse(&name).expect("--isa takes an instruction set"));
    let backend = CpuBackend::new(CpuConfig { threads, isa_max, parallel_for: None }).unwrap();
    let mut arenas = Arenas { input: Arena::new(3 << 29), output: Arena::new(3 << 29) };
    let arenas = &mut arenas;
    let roofline = Roofline::measure(backend.runner(), &mut arenas.output, NUMEL * 2, BUDGET);
    println!("{ROWS}x{COLUMNS}, {} threads, {}", backend.threads(), backend.isa());
    println!(
        "GB/s: read {:.1}, write {:.1}, copy {:.1} (read + written)\n",
        roofline.read / 1e9,
        roofline.write / 1e9,
        roofline.copy / 1e9
    );
    println!("{:40} {:>9} {:>9} {:>9} {:>9}", "operation", "fastest", "ms", "GB/s", "of copy");
    for dtype in DTYPES {
        for (quant_type, rule) in [
            (QuantType::Nf4, Rule::BnbCpu),
            (QuantType::Nf4, Rule::BnbCuda),
            (QuantType::Fp4, Rule::BnbCpu),
            (QuantType::Fp4, Rule::BnbCuda),
        ] {
            for block in [32, 64, 4096] {
                if block != 64 && quant_type == QuantType::Fp4 {
                    continue;
                }
                quantize(&backend, arenas, roofline, dtype, quant_type, rule, block);
            }
        }
    }
    for dtype in DTYPES {
        for block in [32, 64, 4096] {
            for double in [false, true] {
                dequantize(&backend, arenas, roofline, dtype, block, double);
            }
        }
    }
}

fn report(name: &str, bytes: usize, timing: Timing, roofline: Roofline) {
    let rate = bytes as f64 / timing.median;
    println!(
        "{name:40} {:9.2} {:9.2} {:9.2} {:8.0}%",
        timing.fastest * 1e3,
        timing.median * 1e3,
        rate / 1e9,
        100.0 * rate / roofline.copy
    );
}

fn quantize(
    backend: &CpuBackend,
    arenas: &mut Arenas,
    roofline: Roofline,
    dtype: FloatType,
    quant_type: QuantType,
    rule: Rule,
    block: usize,
) {
    let block_size = BlockSize::new(block as u64).unwrap();
    let mut absmax = vec![0f32; NUMEL / block];
    let timing = measure(BUDGET, || {
        let job = QuantizeJob {
            source: arenas.input.slot(NUMEL * dtype.size()),
            source_type: dtype,
            numel: NUMEL as u64,
            block_size,
            quant_type,
            rule,
            codes: arenas.output.slot(NUMEL / 2),
            absmax: absmax.as_mut_ptr(),
        };
        // SAFETY: slots of the sizes that the job implies.
        unsafe { backend.quantize(&job) }.unwrap();
    });
    let bytes = NUMEL * dtype.size() + NUMEL / 2 + absmax.len() * 4;
    let name = format!("quantize {} {} {} {block}", dtype.torch_name(), quant_type.name(), rule.name());
    report(&name, bytes, timing, roofline);
}

fn dequantize(
    backend: &CpuBackend,
    arenas: &mut Arenas,
    roofline: Roofline,
    dtype: FloatType,
    block: usize,
    double: bool,
) {
    let blocks = NUMEL / block;
    let absmax = vec![0.5f32; blocks];
    let codes = vec![7u8; blocks];
    let map = [0.25f32; 256];
    let scales = if double {
        Scales::Double {
            codes: codes.as_ptr(),
            map: map.as_ptr(),
            nested_absmax: absmax.as_ptr(),
            nested_shift: 8,
            offset: 0.125,
        }
    } else {
        Scales::Plain { absmax: absmax.as_ptr() }
    };
    let timing = measure(BUDGET, || {
        let job = DequantizeJob {
            weight: WeightRef {
                codes: arenas.input.slot(NUMEL / 2),
                codebook: *QuantType::Nf4.codebook(),
                block_size: BlockSize::new(block as u64).unwrap(),
                scales,
            },
            numel: NUMEL as u64,
            output: arenas.output.slot(NUMEL * dtype.size()),
            output_type: dtype,
        };
        // SAFETY: slots of the sizes that the job implies.
        unsafe { backend.dequantize(&job) }.unwrap();
    });
    let statistics = if double { blocks + blocks / 64 } else { blocks * 4 };
    let name = format!("dequantize {} {block}{}", dtype.torch_name(), if double { " double" } else { "" });
    report(&name, NUMEL * dtype.size() + NUMEL / 2 + statistics, timing, roofline);
}

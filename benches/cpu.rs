//! `cargo bench --bench cpu [-- --threads N --isa NAME --only WORDS]`: quantize and dequantize
//! against a copy of as many bytes, timed in turn. Operands rotate through 1.6 GB each, to be cold.

use std::time::Duration;

use fourbit::backend::cpu::{CpuBackend, CpuConfig, Isa};
use fourbit::backend::{Backend, DequantizeJob, QuantizeJob, Scales, WeightRef};
use fourbit::bench::{Arena, Roofline, copy, measure_in_turn};
use fourbit::codebook::{QuantType, Rule};
use fourbit::dtype::FloatType;
use fourbit::quant::BlockSize;

const ROWS: usize = 14336;
const COLUMNS: usize = 4096;
const NUMEL: usize = ROWS * COLUMNS;
const BUDGET: Duration = Duration::from_millis(700);
const DTYPES: [FloatType; 3] = [FloatType::Bf16, FloatType::F16, FloatType::F32];

fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.next().and_then(|_| args.next())
}

struct Bench {
    backend: CpuBackend,
    only: String,
    /// Keeps the plausible values it is made with.
    input: Arena,
    output: Arena,
    copies: Arena,
}

fn main() {
    let threads = option("--threads").map_or(0, |t| t.parse().expect("--threads takes a number"));
    let isa_max = option("--isa").map(|name| Isa::parse(&name).expect("--isa takes an instruction set"));
    let mut bench = Bench {
        backend: CpuBackend::new(CpuConfig { threads, isa_max, parallel_for: None }).unwrap(),
        only: option("--only").unwrap_or_default(),
        input: Arena::new(3 << 29),
        output: Arena::new(3 << 29),
        copies: Arena::new(3 << 29),
    };
    let roofline = Roofline::measure(bench.backend.runner(), &mut bench.copies, NUMEL, BUDGET);
    println!("{ROWS}x{COLUMNS}, {} threads, {}", bench.backend.threads(), bench.backend.isa());
    println!(
        "GB/s: read {:.1}, write {:.1}, copy {:.1} (read + written)\n",
        roofline.read / 1e9,
        roofline.write / 1e9,
        roofline.copy / 1e9
    );
    println!(
        "{:40} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "operation", "fastest", "ms", "GB/s", "copy ms", "of copy"
    );
    for dtype in DTYPES {
        for quant_type in [QuantType::Nf4, QuantType::Fp4] {
            for (rule, block) in
                [Rule::BnbCpu, Rule::BnbCuda].into_iter().flat_map(|r| [32, 64, 4096].map(|b| (r, b)))
            {
                bench.quantize(dtype, quant_type, rule, block);
            }
        }
    }
    for (dtype, block) in DTYPES.into_iter().flat_map(|d| [32, 64, 4096].map(|b| (d, b))) {
        bench.dequantize(dtype, block, false);
        bench.dequantize(dtype, block, true);
    }
}

/// Times `operation` and copies of as many bytes, with both kinds of store, in turn.
fn compare(name: &str, bytes: usize, runner: &CpuBackend, copies: &mut Arena, mut operation: impl FnMut()) {
    let copies = std::cell::RefCell::new(copies);
    let slot = || copies.borrow_mut().slot(bytes / 2);
    let copy = |streaming| {
        // SAFETY: two slots of that size, in use by nothing else.
        unsafe { copy(runner.runner(), slot(), slot(), bytes / 2, streaming) }
    };
    let timings = measure_in_turn(BUDGET, &mut [&mut operation, &mut || copy(false), &mut || copy(true)]);
    let copied = timings[1].median.min(timings[2].median);
    println!(
        "{name:40} {:9.2} {:9.2} {:9.2} {:9.2} {:8.0}%",
        timings[0].fastest * 1e3,
        timings[0].median * 1e3,
        bytes as f64 / timings[0].median / 1e9,
        copied * 1e3,
        100.0 * copied / timings[0].median
    );
}

impl Bench {
    fn quantize(&mut self, source_type: FloatType, quant_type: QuantType, rule: Rule, block: usize) {
        let name =
            format!("quantize {} {} {} {block}", source_type.torch_name(), quant_type.name(), rule.name());
        if !name.contains(&self.only) {
            return;
        }
        let block_size = BlockSize::new(block as u64).unwrap();
        let mut absmax = vec![0f32; NUMEL / block];
        let bytes = NUMEL * source_type.size() + NUMEL / 2 + absmax.len() * 4;
        compare(&name, bytes, &self.backend, &mut self.copies, || {
            let job = QuantizeJob {
                source: self.input.slot(NUMEL * source_type.size()),
                source_type,
                numel: NUMEL as u64,
                block_size,
                quant_type,
                rule,
                codes: self.output.slot(NUMEL / 2),
                absmax: absmax.as_mut_ptr(),
            };
            // SAFETY: slots of the sizes that the job implies.
            unsafe { self.backend.quantize(&job) }.unwrap();
        });
    }

    fn dequantize(&mut self, output_type: FloatType, block: usize, double: bool) {
        let name =
            format!("dequantize {} {block}{}", output_type.torch_name(), if double { " double" } else { "" });
        if !name.contains(&self.only) {
            return;
        }
        let blocks = NUMEL / block;
        let (absmax, codes, map) = (vec![0.5f32; blocks], vec![7u8; blocks], [0.25f32; 256]);
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
        let statistics = if double { blocks + blocks / 64 } else { blocks * 4 };
        let bytes = NUMEL * output_type.size() + NUMEL / 2 + statistics;
        compare(&name, bytes, &self.backend, &mut self.copies, || {
            let job = DequantizeJob {
                weight: WeightRef {
                    codes: self.input.slot(NUMEL / 2),
                    codebook: *QuantType::Nf4.codebook(),
                    block_size: BlockSize::new(block as u64).unwrap(),
                    scales,
                },
                numel: NUMEL as u64,
                output: self.output.slot(NUMEL * output_type.size()),
                output_type,
            };
            // SAFETY: slots of the sizes that the job implies.
            unsafe { self.backend.dequantize(&job) }.unwrap();
        });
    }
}

//! Every arm's products against sums in `f64`: odd sizes, straddling blocks, all types and options,
//! unaligned pointers, inaccessible pages around every buffer, any number of threads.

#[path = "common/guard.rs"]
mod guard;
#[path = "common/values.rs"]
mod values;

use std::ffi::c_void;

use fourbit::backend::cpu::{CpuBackend, CpuConfig, Isa, ParallelFor, ParallelForFn};
use fourbit::backend::{Backend, GemmJob, Scales, WeightRef};
use fourbit::codebook::{DYNAMIC_MAP, QuantType};
use fourbit::dtype::FloatType;
use fourbit::quant::BlockSize;
use guard::{Edge, Guarded};
use half::{bf16, f16};
use values::{Random, to_bytes};

const DTYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];

/// What a product is of.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    block_size: BlockSize,
    quant_type: QuantType,
    double: bool,
    input_type: FloatType,
    bias_type: Option<FloatType>,
    output_type: FloatType,
    /// Elements between rows, beyond their length.
    gaps: (usize, usize),
    accumulate: bool,
    transpose: bool,
    exact: bool,
    /// Input elements are divided by up to two to this power.
    spread: usize,
    edge: Edge,
    /// Bytes by which input, codes, bias and output are off their alignment.
    shift: usize,
}

impl Case {
    fn random(random: &mut Random) -> Self {
        let any = |random: &mut Random, list: &[usize]| list[random.below(list.len())];
        let m = any(random, &[1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 33, 48]);
        let n = any(random, &[1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 47, 64, 65, 100, 129, 200]);
        let unit = any(random, &[1, 1, 2, 8, 16, 32, 32, 64, 64, 128, 128]);
        let k = unit * (1 + random.below(1 + 700 / unit));
        // Few rows may be long: beyond what kernels take at a time.
        let k = if m * n <= 16 && random.below(2) == 0 { k + 8192 } else { k };
        Case {
            m,
            n,
            k,
            block_size: BlockSize::ALL[random.below(BlockSize::ALL.len())],
            quant_type: [QuantType::Nf4, QuantType::Fp4][random.below(2)],
            double: random.below(2) == 1,
            input_type: DTYPES[random.below(3)],
            bias_type: [None, Some(FloatType::F32), Some(FloatType::F16), Some(FloatType::Bf16)]
                [random.below(4)],
            output_type: DTYPES[random.below(3)],
            gaps: (random.below(2) * random.below(9), random.below(2) * random.below(9)),
            accumulate: random.below(3) == 0,
            transpose: random.below(3) == 0,
            exact: random.below(2) == 0,
            spread: 0,
            edge: [Edge::Start, Edge::End][random.below(2)],
            shift: random.below(2) * random.below(4),
        }
    }

    fn depth(&self) -> usize {
        if self.transpose { self.n } else { self.k }
    }

    fn width(&self) -> usize {
        if self.transpose { self.k } else { self.n }
    }
}

/// Elements of a float type, between inaccessible pages.
struct Floats {
    dtype: FloatType,
    buffer: Guarded,
    start: usize,
    count: usize,
}

impl Floats {
    fn new(case: &Case, dtype: FloatType, values: &[f32]) -> Self {
        let bytes = to_bytes(values, dtype);
        Floats::of_bytes(case, dtype, &bytes)
    }

    fn of_bytes(case: &Case, dtype: FloatType, bytes: &[u8]) -> Self {
        let shift = vec![0x5a; case.shift];
        // Off its alignment a buffer touches its inaccessible page but for `shift` bytes.
        let (start, all) = match case.edge {
            Edge::Start => (case.shift, [&shift, bytes].concat()),
            Edge::End => (0, [bytes, &shift].concat()),
        };
        Floats { dtype, buffer: Guarded::new(&all, case.edge), start, count: bytes.len() / dtype.size() }
    }

    fn ptr(&self) -> *mut u8 {
        self.buffer.ptr().wrapping_add(self.start)
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[self.start..self.start + self.count * self.dtype.size()]
    }

    fn get(&self, i: usize) -> f64 {
        let b = &self.bytes()[i * self.dtype.size()..];
        match self.dtype {
            FloatType::F32 => f32::from_ne_bytes([b[0], b[1], b[2], b[3]]).into(),
            FloatType::F16 => f16::from_ne_bytes([b[0], b[1]]).into(),
            FloatType::Bf16 => bf16::from_ne_bytes([b[0], b[1]]).into(),
        }
    }
}

/// The largest relative error of rounding to the type.
fn unit(dtype: FloatType) -> f64 {
    match dtype {
        FloatType::F32 => 2f64.powi(-24),
        FloatType::F16 => 2f64.powi(-11),
        FloatType::Bf16 => 2f64.powi(-8),
    }
}

/// A case's operands and its result in `f64`.
struct Problem {
    case: Case,
    codes: Floats,
    scales: [Guarded; 3],
    offset: f32,
    input: Floats,
    bias: Option<Floats>,
    before: Vec<u8>,
    /// Exact results, and the sums of the magnitudes of their terms.
    expected: Vec<(f64, f64)>,
}

impl Problem {
    fn new(case: Case, random: &mut Random) -> Self {
        let numel = case.n * case.k;
        let blocks = numel.div_ceil(case.block_size.get());
        let bytes: Vec<u8> = (0..numel.div_ceil(2)).map(|_| random.bits() as u8).collect();
        let mut floats = |count: usize| -> Vec<f32> { (0..count).map(|_| random.unit()).collect() };
        let (plain, nested) = (floats(blocks), floats(blocks.div_ceil(256)));
        let mut input = floats(case.m * (case.depth() + case.gaps.0));
        let bias = case.bias_type.map(|dtype| Floats::new(&case, dtype, &floats(case.width())));
        let before = to_bytes(&floats(case.m * (case.width() + case.gaps.1)), case.output_type);
        input.iter_mut().for_each(|x| *x *= 2f32.powi(-(random.below(case.spread + 1) as i32)));
        let scale_codes: Vec<u8> = (0..blocks).map(|_| random.bits() as u8).collect();
        let mut problem = Problem {
            case,
            codes: Floats { count: bytes.len() / 4, ..Floats::of_bytes(&case, FloatType::F32, &bytes) },
            scales: match case.double {
                false => [
                    Guarded::of_f32(&plain, case.edge),
                    Guarded::new(&[], case.edge),
                    Guarded::new(&[], case.edge),
                ],
                true => [
                    Guarded::of_f32(&nested, case.edge),
                    Guarded::new(&scale_codes, case.edge),
                    Guarded::of_f32(&DYNAMIC_MAP, case.edge),
                ],
            },
            offset: 0.375,
            input: Floats::new(&case, case.input_type, &input),
            bias,
            before,
            expected: Vec::new(),
        };
        let scales: Vec<f64> = (0..blocks)
            .map(|b| match case.double {
                false => plain[b],
                true => DYNAMIC_MAP[usize::from(scale_codes[b])] * nested[b >> 8] + problem.offset,
            })
            .map(f64::from)
            .collect();
        problem.expected = problem.reference(&bytes, &scales);
        problem
    }

    fn reference(&self, codes: &[u8], scales: &[f64]) -> Vec<(f64, f64)> {
        let Case { m, n, k, .. } = self.case;
        let codebook = self.case.quant_type.codebook().map(f64::from);
        let weights: Vec<f64> = (0..n * k)
            .map(|i| {
                let nibble = codes[i / 2] >> (4 - i % 2 * 4) & 15;
                codebook[usize::from(nibble)] * scales[i / self.case.block_size.get()]
            })
            .collect();
        let (depth, width) = (self.case.depth(), self.case.width());
        let before = Floats::of_bytes(&self.case, self.case.output_type, &self.before);
        let input_stride = depth + self.case.gaps.0;
        let mut expected = Vec::with_capacity(m * width);
        for row in 0..m {
            let x: Vec<f64> = (0..depth).map(|i| self.input.get(row * input_stride + i)).collect();
            for column in 0..width {
                let (start, step) = if self.case.transpose { (column, k) } else { (column * k, 1) };
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for (i, x) in x.iter().enumerate() {
                    let term = x * weights[start + i * step];
                    (sum, magnitude) = (sum + term, magnitude + term.abs());
                }
                let mut add = |v: f64| (sum, magnitude) = (sum + v, magnitude + v.abs());
                self.bias.iter().for_each(|b| add(b.get(column)));
                if self.case.accumulate {
                    add(before.get(row * (width + self.case.gaps.1) + column));
                }
                expected.push((sum, magnitude));
            }
        }
        expected
    }

    /// The product, computed by an arm.
    fn run(&self, backend: &CpuBackend) -> Floats {
        let output = self.output();
        // SAFETY: the buffers have the sizes that the job implies.
        unsafe { backend.gemm(&self.job(&output)) }.unwrap();
        output
    }

    /// The output before the product, gaps included.
    fn output(&self) -> Floats {
        Floats::of_bytes(&self.case, self.case.output_type, &self.before)
    }

    fn job(&self, output: &Floats) -> GemmJob {
        let case = &self.case;
        let [first, codes, map] = &self.scales;
        let scales = match case.double {
            false => Scales::Plain { absmax: first.ptr().cast() },
            true => Scales::Double {
                codes: codes.ptr(),
                map: map.ptr().cast(),
                nested_absmax: first.ptr().cast(),
                nested_shift: 8,
                offset: self.offset,
            },
        };
        GemmJob {
            m: case.m as u64,
            n: case.n as u64,
            k: case.k as u64,
            input: self.input.ptr(),
            input_type: case.input_type,
            input_stride: (case.depth() + case.gaps.0) as i64,
            weight: WeightRef {
                codes: self.codes.ptr(),
                codebook: *case.quant_type.codebook(),
                block_size: case.block_size,
                scales,
            },
            bias: self.bias.as_ref().map_or(std::ptr::null(), |b| b.ptr().cast_const()),
            bias_type: case.bias_type.unwrap_or(FloatType::F32),
            output: output.ptr(),
            output_type: case.output_type,
            output_stride: (case.width() + case.gaps.1) as i64,
            accumulate: case.accumulate,
            transpose: case.transpose,
            exact: case.exact,
        }
    }

    /// The relative error of one product that the arm may make, beyond rounding each sum in `f32`.
    fn weight_error(&self, isa: Isa) -> f64 {
        let case = &self.case;
        // Decoding rounds once, with several input rows; products are added with one rounding.
        let f32_error = 2f64.powi(-24);
        let whole_tiles = !case.transpose && case.k.is_multiple_of(64) && case.block_size.get() >= 64;
        let exact_rows = match (case.input_type, case.transpose) {
            (FloatType::F32, _) => usize::MAX,
            (FloatType::F16, _) if whole_tiles => 16,
            (FloatType::F16, _) => 11,
            (FloatType::Bf16, false) => 3,
            (FloatType::Bf16, true) => 1,
        };
        match case.input_type {
            _ if case.exact || case.m <= exact_rows || isa < Isa::Avx512Bf16 => f32_error,
            // Weight and input in two bf16 terms each, without the product of the smaller ones.
            FloatType::F16 => 2f64.powi(-15),
            _ => 2f64.powi(-8) + f32_error,
        }
    }

    fn check(&self, isa: Isa, output: &Floats) {
        let (case, width) = (&self.case, self.case.width());
        let stride = width + case.gaps.1;
        let before = Floats::of_bytes(case, case.output_type, &self.before);
        // The most additions on the way of a term to its sum: within a register, over registers,
        // over segments; then bias and former output.
        let additions = 512.0 + (case.depth() as f64 / 256.0) + 16.0;
        let relative = additions * 2f64.powi(-24) + self.weight_error(isa);
        let (mut error_squares, mut magnitudes) = (0.0, 0.0);
        for at in 0..case.m * stride {
            let (row, column) = (at / stride, at % stride);
            if column >= width {
                assert_eq!(
                    output.get(at).to_bits(),
                    before.get(at).to_bits(),
                    "{case:?} on {isa}: wrote between rows"
                );
                continue;
            }
            let (expected, magnitude) = self.expected[row * width + column];
            let error = (output.get(at) - expected).abs();
            let limit = magnitude * relative + expected.abs() * unit(case.output_type) + 1e-7;
            assert!(
                error <= limit,
                "{case:?} on {isa} at [{row}, {column}]: {} for {expected}",
                output.get(at)
            );
            (error_squares, magnitudes) = (error_squares + error * error, magnitudes + magnitude * magnitude);
        }
        if case.output_type == FloatType::F32 && self.weight_error(isa) < 2f64.powi(-23) && magnitudes > 0.0 {
            let rms = (error_squares / magnitudes).sqrt();
            assert!(rms <= 1e-7, "{case:?} on {isa}: error {rms:e} of the terms' magnitude");
        }
    }
}

fn backends(isa: Isa) -> Vec<CpuBackend> {
    let new =
        |threads| CpuBackend::new(CpuConfig { threads, isa_max: Some(isa), parallel_for: None }).unwrap();
    [1, 2, 3].map(new).into()
}

/// Checks the cases on all arms of this machine, newest first.
fn check_all(cases: impl Iterator<Item = Case>, random: &mut Random) {
    let isas: Vec<Isa> = Isa::ALL.iter().rev().copied().filter(|isa| isa.is_supported()).collect();
    let arms: Vec<Vec<CpuBackend>> = isas.iter().map(|isa| backends(*isa)).collect();
    for case in cases {
        let problem = Problem::new(case, random);
        for (isa, backends) in isas.iter().zip(&arms) {
            let output = problem.run(&backends[0]);
            problem.check(*isa, &output);
            for other in &backends[1..] {
                let same = problem.run(other).bytes() == output.bytes();
                assert!(same, "{case:?} on {isa}: {} threads change the result", other.threads());
            }
        }
    }
}

#[test]
fn random_products() {
    let mut random = Random::new(1);
    let mut choices = Random::new(2);
    check_all((0..400).map(|_| Case::random(&mut choices)), &mut random);
}

/// A plain case to vary.
fn plain(m: usize, n: usize, k: usize) -> Case {
    Case {
        m,
        n,
        k,
        block_size: BlockSize::DEFAULT,
        quant_type: QuantType::Nf4,
        double: false,
        input_type: FloatType::F32,
        bias_type: None,
        output_type: FloatType::F32,
        gaps: (0, 0),
        accumulate: false,
        transpose: false,
        exact: false,
        spread: 0,
        edge: Edge::End,
        shift: 0,
    }
}

#[test]
fn empty_sides() {
    let shapes = [(0, 5, 64), (3, 0, 64), (3, 5, 0), (0, 0, 0), (600, 1, 0), (1, 7, 0)];
    let both = [false, true].into_iter().flat_map(|t| shapes.map(|s| (t, s)));
    let cases = both.flat_map(|(transpose, (m, n, k))| {
        let case = Case { transpose, ..plain(m, n, k) };
        [case, Case { bias_type: Some(FloatType::F16), accumulate: true, ..case }]
    });
    check_all(cases, &mut Random::new(3));
}

#[test]
fn more_rows_than_fit_at_once() {
    let shape = |input_type, transpose| Case { input_type, transpose, gaps: (1, 2), ..plain(1100, 24, 96) };
    let cases = DTYPES.into_iter().flat_map(|t| [shape(t, false), shape(t, true)]);
    check_all(cases, &mut Random::new(4));
}

/// So many weight rows that their sums are divided into chunks, which are added at the end.
#[test]
fn many_weight_rows_transposed() {
    let shapes =
        [(1, 600, 160), (2, 2100, 96), (6, 1100, 224), (7, 4300, 64), (19, 8300, 96), (16, 4200, 33)];
    let cases = shapes.into_iter().flat_map(|(m, n, k)| {
        DTYPES.into_iter().enumerate().map(move |(i, input_type)| Case {
            input_type,
            double: i == 1,
            block_size: BlockSize::ALL[(m + i) % BlockSize::ALL.len()],
            transpose: true,
            gaps: (1, 2),
            accumulate: i == 2,
            edge: if i == 0 { Edge::Start } else { Edge::End },
            ..plain(m, n, k)
        })
    });
    check_all(cases, &mut Random::new(8));
}

#[test]
fn every_block_size_against_every_kind_of_row() {
    let sizes = BlockSize::ALL.into_iter();
    let cases = sizes.flat_map(|block_size| {
        // Whole blocks; straddling by 64, 32, 8 and 1.
        [4096, 4096 + 64, 4096 + 32, 4096 + 8, 4096 + 1].into_iter().flat_map(move |k| {
            [(1, false, 7), (2, true, 9), (5, false, 3)].map(|(m, double, n)| Case {
                block_size,
                double,
                input_type: DTYPES[m % 3],
                ..plain(m, n, k)
            })
        })
    });
    check_all(cases, &mut Random::new(5));
}

/// All ways to split few rows into terms and columns, with whole and straddling blocks, rows of
/// weights that fill no group, windows cut short, elements of very different size.
#[test]
fn few_rows_in_terms() {
    let mut random = Random::new(8);
    let rows = [2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 24, 32, 33];
    let mut cases = Vec::new();
    for m in rows {
        for (input_type, spread) in [(FloatType::F32, 80), (FloatType::F16, 12), (FloatType::Bf16, 40)] {
            let any = |random: &mut Random, list: &[usize]| list[random.below(list.len())];
            let case = Case {
                input_type,
                spread: [0, spread][random.below(2)],
                block_size: BlockSize::ALL[random.below(BlockSize::ALL.len())],
                double: random.below(2) == 0,
                gaps: (random.below(3), random.below(3)),
                accumulate: random.below(3) == 0,
                bias_type: [None, Some(FloatType::Bf16)][random.below(2)],
                quant_type: [QuantType::Nf4, QuantType::Fp4][random.below(2)],
                edge: [Edge::Start, Edge::End][random.below(2)],
                shift: random.below(4),
                ..plain(m, any(&mut random, &[1, 15, 17, 64, 67, 130, 600]), 64 * (1 + random.below(12)))
            };
            cases.extend([false, true].map(|exact| Case { exact, ..case }));
            let block_size = [64, 128, 4096][random.below(3)];
            let block_size = BlockSize::ALL.into_iter().find(|b| b.get() == block_size).unwrap();
            cases.push(Case { exact: true, block_size, n: 33, k: 192, ..case });
        }
    }
    check_all(cases.into_iter(), &mut random);
}

/// Elements that no product of `bf16` terms can represent: whoever splits must not do so here.
#[test]
fn extreme_inputs() {
    let mut random = Random::new(9);
    let extremes = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 1e-38, 1e-44, -1e-30, 0.0, -0.0];
    for extreme in extremes {
        for (m, exact) in [(2, false), (5, false), (8, true), (16, false), (31, true)] {
            for input_type in DTYPES {
                let case = Case { input_type, exact, ..plain(m, 40, 320) };
                let mut problem = Problem::new(case, &mut random);
                let mut input: Vec<f32> = (0..m * 320).map(|i| problem.input.get(i) as f32).collect();
                let row = random.below(m);
                // A row of small elements alone, so that they matter; or one element.
                match extreme.abs() < 1e-20 {
                    true => input[row * 320..][..320].iter_mut().for_each(|x| *x *= extreme),
                    false => input[row * 320 + random.below(320)] = extreme,
                }
                problem.input = Floats::new(&case, input_type, &input);
                check_extreme(&problem);
            }
        }
    }
}

/// Checks all arms against the portable one, row by row: an extreme row spoils no other.
fn check_extreme(problem: &Problem) {
    let case = &problem.case;
    let portable = problem.run(&backends(Isa::Portable)[0]);
    for isa in Isa::ALL.iter().copied().filter(|isa| isa.is_supported()) {
        let output = problem.run(&backends(isa)[0]);
        for at in 0..case.m * case.n {
            let (value, expected) = (output.get(at), portable.get(at));
            // What rounding may do; without `exact` denormals and what comes near count as zero.
            let (relative, tiny) = if case.exact { (1e-6, 1e-42) } else { (1e-2, 1e-35) };
            let limit = relative * input_size(problem, at / case.n) + tiny;
            let close = match expected.is_finite() {
                true => (value - expected).abs() <= limit,
                false => !value.is_finite(),
            };
            assert!(close, "{case:?} on {isa} at {at}: {value} for {expected}");
        }
    }
}

/// The sum of the magnitudes of an input row.
fn input_size(problem: &Problem, row: usize) -> f64 {
    (0..problem.case.k).map(|i| problem.input.get(row * problem.case.k + i).abs()).sum()
}

#[test]
fn a_group_is_as_good_as_its_members() {
    let mut random = Random::new(6);
    let mut choices = Random::new(7);
    // More members than are computed together, of all kinds, some of them empty.
    let problems: Vec<Problem> = (0..80)
        .map(|i| {
            let case = Case::random(&mut choices);
            Problem::new(Case { m: case.m * usize::from(i % 5 != 0), n: case.n.min(40), ..case }, &mut random)
        })
        .collect();
    for isa in Isa::ALL.iter().copied().filter(|isa| isa.is_supported()) {
        for backend in backends(isa) {
            let outputs: Vec<Floats> = problems.iter().map(Problem::output).collect();
            let jobs: Vec<GemmJob> = problems.iter().zip(&outputs).map(|(p, o)| p.job(o)).collect();
            // SAFETY: the buffers have the sizes that the jobs imply.
            unsafe { backend.grouped_gemm(&jobs) }.unwrap();
            for (problem, output) in problems.iter().zip(&outputs) {
                assert!(output.bytes() == problem.run(&backend).bytes(), "{:?} on {isa}", problem.case);
            }
        }
    }
}

/// A task of a caller's loop.
type Task = unsafe extern "C" fn(*mut c_void, usize);

unsafe extern "C" fn one_by_one(_: *mut c_void, count: usize, task: Task, data: *mut c_void) {
    // SAFETY: each index once.
    (0..count).for_each(|i| unsafe { task(data, i) });
}

unsafe extern "C" fn backwards(_: *mut c_void, count: usize, task: Task, data: *mut c_void) {
    // SAFETY: each index once.
    (0..count).rev().for_each(|i| unsafe { task(data, i) });
}

unsafe extern "C" fn by_a_crowd(_: *mut c_void, count: usize, task: Task, data: *mut c_void) {
    const CROWD: usize = 7;
    let data = data as usize;
    std::thread::scope(|scope| {
        for first in 0..CROWD {
            scope.spawn(move || {
                // SAFETY: each index once, all before the scope ends.
                (first..count).step_by(CROWD).for_each(|i| unsafe { task(data as *mut c_void, i) });
            });
        }
    });
}

#[test]
fn a_callers_loop_changes_no_bit() {
    let mut random = Random::new(8);
    let rows = [1, 2, 4, 7, 16, 33];
    let cases = rows.into_iter().enumerate().flat_map(|(i, m)| {
        let case = Case { double: m % 2 == 1, input_type: DTYPES[i % 3], ..plain(m, 301, 640) };
        [case, Case { transpose: true, ..case }, Case { k: 517, input_type: DTYPES[(i + 1) % 3], ..case }]
    });
    let problems: Vec<Problem> = cases.map(|case| Problem::new(case, &mut random)).collect();
    let loops: [ParallelForFn; 3] = [one_by_one, backwards, by_a_crowd];
    for isa in Isa::ALL.iter().copied().filter(|isa| isa.is_supported()) {
        let alone =
            CpuBackend::new(CpuConfig { threads: 1, isa_max: Some(isa), parallel_for: None }).unwrap();
        let expected: Vec<Floats> = problems.iter().map(|problem| problem.run(&alone)).collect();
        for (call, threads) in loops.into_iter().zip([1, 3, 5]) {
            // SAFETY: the functions call every task once and use no argument of their own.
            let parallel_for = Some(unsafe { ParallelFor::new(call, std::ptr::null_mut()) });
            let backend = CpuBackend::new(CpuConfig { threads, isa_max: Some(isa), parallel_for }).unwrap();
            for (problem, expected) in problems.iter().zip(&expected) {
                let same = problem.run(&backend).bytes() == expected.bytes();
                assert!(same, "{:?} on {isa}: a caller's loop of {threads} changes the result", problem.case);
            }
        }
    }
}

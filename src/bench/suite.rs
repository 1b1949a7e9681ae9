//! Which operations are measured, in which order.

use super::cases::{Bench, dequantize, grouped, overhead, product, quantize};
use super::figure::{Figure, Operation};
use super::{Effort, Roofline, Sink, Source, machine};
use crate::backend::cpu::{CpuConfig, Isa};
use crate::codebook::{QuantType, Rule};
use crate::context::Context;
use crate::dtype::FloatType;
use crate::error::Result;
use crate::quant::{BlockSize, GemmOptions};

use super::operands::Form;
use super::report::Report;

/// How much to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The essentials, in a few seconds.
    Quick,
    /// Every operation and element type on typical shapes, in under half a minute.
    Standard,
    /// Every option and every arm; waits for a quiet machine.
    Full,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Selection {
    /// How much.
    pub scope: Scope,
    /// Weight shapes `(n, k)`; empty: typical ones.
    pub shapes: Vec<(u64, u64)>,
    /// Operations; empty: all.
    pub only: Vec<Operation>,
    /// Threads; 0: as many as the process may use.
    pub threads: usize,
    /// Use no newer arm.
    pub isa: Option<Isa>,
    /// How much time to spend on a figure.
    pub effort: Effort,
}

const SHAPES: [(u64, u64); 4] = [(14336, 4096), (4096, 4096), (1024, 4096), (576, 1536)];
const TYPES: [FloatType; 3] = [FloatType::Bf16, FloatType::F16, FloatType::F32];
const BATCHES: [u64; 7] = [1, 2, 8, 16, 32, 64, 256];
const DEFAULT_BLOCK: &[BlockSize] = &[BlockSize::DEFAULT];
const FULL_BATCHES: [u64; 10] = [1, 2, 3, 4, 8, 16, 32, 64, 256, 1024];

impl Selection {
    fn wants(&self, operation: Operation) -> bool {
        self.only.is_empty() || self.only.contains(&operation)
    }

    fn shapes(&self) -> Vec<(u64, u64)> {
        match (self.shapes.is_empty(), self.scope) {
            (false, _) => self.shapes.clone(),
            (true, Scope::Quick) => vec![SHAPES[0], SHAPES[3]],
            (true, _) => SHAPES.to_vec(),
        }
    }

    fn types(&self) -> &'static [FloatType] {
        if self.scope == Scope::Quick { &TYPES[..1] } else { &TYPES }
    }

    fn batches(&self) -> &'static [u64] {
        match self.scope {
            Scope::Quick => &[1, 16, 256],
            Scope::Standard => &BATCHES,
            Scope::Full => &FULL_BATCHES,
        }
    }

    fn blocks(&self) -> &'static [BlockSize] {
        if self.scope == Scope::Full { &BlockSize::ALL } else { DEFAULT_BLOCK }
    }
}

/// Measures, and shows each figure to `on_figure` as it comes. The roofline comes first.
pub fn run(
    selection: &Selection,
    on_roofline: &mut dyn FnMut(&Report),
    on_figure: &mut dyn FnMut(&Figure),
) -> Result<Report> {
    let context =
        |isa| Context::cpu(CpuConfig { threads: selection.threads, isa_max: isa, ..CpuConfig::default() });
    let newest = context(selection.isa)?;
    let bytes = machine::rotation_bytes();
    let (mut source, mut sink) = (Source::new(bytes)?, Sink::new(bytes)?);
    let roofline = Roofline::measure(newest.host(), &mut source, &mut sink, &selection.effort)?;
    let mut report = Report::new(&newest, bytes, roofline);
    on_roofline(&report);
    let mut add = |figure: Figure| {
        on_figure(&figure);
        report.figures.push(figure);
    };
    let effort = &selection.effort;
    let mut bench = Bench { context: newest, roofline, source, sink, effort, add: &mut add };
    measure_all(&mut bench, selection)?;
    if selection.scope == Scope::Full {
        let isa = bench.context.host().isa();
        for older in Isa::ALL.iter().rev().copied().filter(|older| *older < isa) {
            bench.context = context(Some(older))?;
            let (cpu, source, sink) = (bench.context.host(), &mut bench.source, &mut bench.sink);
            bench.roofline = Roofline::measure(cpu, source, sink, effort)?;
            // One shape tells how an arm does; the options matter to all alike.
            let shapes = selection.shapes().into_iter().take(1).collect();
            measure_all(&mut bench, &Selection { scope: Scope::Standard, shapes, ..selection.clone() })?;
        }
    }
    drop(bench);
    Ok(report)
}

fn measure_all(bench: &mut Bench<'_>, selection: &Selection) -> Result<()> {
    for operation in Operation::ALL.into_iter().filter(|o| selection.wants(*o)) {
        match operation {
            Operation::Quantize => all_quantize(bench, selection)?,
            Operation::Dequantize => all_dequantize(bench, selection)?,
            Operation::Gemm => all_gemm(bench, selection)?,
            Operation::Transpose => all_transpose(bench, selection)?,
            Operation::Grouped => all_grouped(bench, selection)?,
            Operation::Overhead => overhead(bench)?,
        }
    }
    Ok(())
}

fn all_quantize(bench: &mut Bench<'_>, selection: &Selection) -> Result<()> {
    let others =
        [(QuantType::Nf4, Rule::BnbCuda), (QuantType::Fp4, Rule::BnbCpu), (QuantType::Fp4, Rule::BnbCuda)];
    for (i, shape) in selection.shapes().into_iter().enumerate() {
        for dtype in selection.types() {
            // The options on the first shape only.
            for block in if i == 0 { selection.blocks() } else { DEFAULT_BLOCK } {
                let form = Form { block: *block, ..Form::plain(shape) };
                quantize::into_place(bench, form, *dtype, QuantType::Nf4, Rule::BnbCpu)?;
            }
            for (quant_type, rule) in others.into_iter().filter(|_| i == 0 && selection.scope == Scope::Full)
            {
                quantize::into_place(bench, Form::plain(shape), *dtype, quant_type, rule)?;
            }
            for double in [false, true] {
                quantize::to_new_weight(bench, Form { double, ..Form::plain(shape) }, *dtype)?;
            }
        }
    }
    Ok(())
}

fn all_dequantize(bench: &mut Bench<'_>, selection: &Selection) -> Result<()> {
    for (i, shape) in selection.shapes().into_iter().enumerate() {
        for dtype in selection.types() {
            for block in if i == 0 { selection.blocks() } else { DEFAULT_BLOCK } {
                for double in [false, true] {
                    dequantize(bench, Form { shape, block: *block, double }, *dtype)?;
                }
            }
        }
    }
    Ok(())
}

fn all_gemm(bench: &mut Bench<'_>, selection: &Selection) -> Result<()> {
    let full = selection.scope == Scope::Full;
    for (i, shape) in selection.shapes().into_iter().enumerate() {
        let form = Form::plain(shape);
        for dtype in selection.types() {
            product::batches(bench, form, *dtype, GemmOptions::default(), selection.batches())?;
            product::hot(bench, form, *dtype)?;
            let double = Form { double: true, ..form };
            let batches: &[u64] = if full { &[1, 16, 256] } else { &[1] };
            product::batches(bench, double, *dtype, GemmOptions::default(), batches)?;
        }
        if full && i == 0 {
            let exact = GemmOptions { exact: true, ..GemmOptions::default() };
            product::batches(bench, form, FloatType::Bf16, exact, &BATCHES)?;
            for block in BlockSize::ALL {
                let form = Form { block, ..form };
                product::batches(bench, form, FloatType::Bf16, GemmOptions::default(), &[1, 16, 256])?;
            }
        }
    }
    Ok(())
}

fn all_transpose(bench: &mut Bench<'_>, selection: &Selection) -> Result<()> {
    let transpose = GemmOptions { transpose: true, ..GemmOptions::default() };
    let batches: &[u64] = match selection.scope {
        Scope::Quick => &[16, 256],
        Scope::Standard => &[1, 16, 64, 256],
        Scope::Full => &BATCHES,
    };
    let shapes = selection.shapes();
    for shape in shapes.iter().take(if selection.scope == Scope::Full { shapes.len() } else { 2 }) {
        for dtype in selection.types() {
            product::batches(bench, Form::plain(*shape), *dtype, transpose, batches)?;
        }
    }
    Ok(())
}

fn all_grouped(bench: &mut Bench<'_>, selection: &Selection) -> Result<()> {
    let shape = selection.shapes().into_iter().find(|s| s.0 <= 1024).unwrap_or((1024, 4096));
    selection.types().iter().try_for_each(|dtype| grouped(bench, Form::plain(shape), *dtype))
}

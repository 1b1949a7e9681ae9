//! Products with one weight.

use super::Bench;
use crate::bench::figure::{Bound, Label, Operation, Work};
use crate::bench::operands::{Form, Input, output};
use crate::dtype::FloatType;
use crate::error::Result;
use crate::quant::{self, GemmOptions};
use crate::weight::Weight;

/// Cold weights, warm input and output, for several numbers of input rows. Ones that would take too long,
/// going by those before, are left out.
pub(in crate::bench) fn batches(
    bench: &mut Bench<'_>,
    form: Form,
    dtype: FloatType,
    options: GemmOptions,
    batches: &[u64],
) -> Result<()> {
    let weights = form.weights(&mut bench.source)?;
    let longest = bench.effort.longest.as_secs_f64();
    let mut per_row = 0.0;
    for m in batches.iter().copied().filter(|m| *m > 0) {
        if m > 64 && per_row * m as f64 > longest {
            break;
        }
        per_row = one(bench, form, &weights, dtype, options, m, "")? / m as f64;
    }
    Ok(())
}

/// One input row, and the same weight over and over, in cache if it fits there.
pub(in crate::bench) fn hot(bench: &mut Bench<'_>, form: Form, dtype: FloatType) -> Result<()> {
    let weights = [form.weight(&mut bench.source)?];
    one(bench, form, &weights, dtype, GemmOptions::default(), 1, "hot").map(drop)
}

fn one(
    bench: &mut Bench<'_>,
    form: Form,
    weights: &[Weight],
    dtype: FloatType,
    options: GemmOptions,
    m: u64,
    note: &str,
) -> Result<f64> {
    let (n, k) = form.shape;
    let (inner, outer) = if options.transpose { (n, k) } else { (k, n) };
    let input = Input::new(&mut bench.source, dtype, m, inner)?;
    let flops = 2.0 * m as f64 * n as f64 * k as f64;
    // Exact products are f32 products, whatever they are made of.
    let computed = if options.exact { FloatType::F32 } else { dtype };
    // Nothing says how fast a cache is: hot figures have no bound.
    let bound = note.is_empty().then(|| Bound::product(&bench.roofline, computed, form.bytes(), flops));
    let label = Label {
        operation: if options.transpose { Operation::Transpose } else { Operation::Gemm },
        variant: variant(form, options, note),
        shape: form.shape,
        m: Some(m),
        dtype,
    };
    bench.time(label, Work { bytes: form.bytes(), flops, bound }, |context, sink, i| {
        sink.rewind();
        let mut out = output(sink, dtype, m, outer)?;
        quant::gemm(context, input.view()?, &weights[i % weights.len()], None, options, &mut out)
    })
}

fn variant(form: Form, options: GemmOptions, note: &str) -> String {
    let mut words = vec![format!("block {}", form.block.get())];
    words.extend(form.double.then(|| "double".to_owned()));
    words.extend(options.exact.then(|| "exact".to_owned()));
    words.extend((!note.is_empty()).then(|| note.to_owned()));
    words.join(", ")
}

//! Products with several experts.

use super::Bench;
use crate::bench::figure::{Bound, Label, Operation, Work};
use crate::bench::operands::{Form, Input, output};
use crate::dtype::FloatType;
use crate::error::Result;
use crate::quant::{self, GemmOptions};
use crate::weight::Weight;

/// Tokens per expert: uneven, one without any.
const TOKENS: [u64; 8] = [1, 0, 3, 17, 8, 40, 2, 25];

/// All experts in one call, then the same one call after another.
pub(in crate::bench) fn grouped(bench: &mut Bench<'_>, form: Form, dtype: FloatType) -> Result<()> {
    let (n, k) = form.shape;
    let weights = form.weights(&mut bench.source)?;
    let rows = TOKENS.iter().sum();
    let offsets: Vec<i64> = (0..=TOKENS.len()).map(|e| TOKENS[..e].iter().sum::<u64>() as i64).collect();
    let input = Input::new(&mut bench.source, dtype, rows, k)?;
    let parts =
        TOKENS.map(|m| Input::new(&mut bench.source, dtype, m, k)).into_iter().collect::<Result<Vec<_>>>()?;
    let used = TOKENS.iter().filter(|m| **m > 0).count();
    let (bytes, flops) = (used * form.bytes(), 2.0 * rows as f64 * n as f64 * k as f64);
    let work = Work { bytes, flops, bound: Some(Bound::product(&bench.roofline, dtype, bytes, flops)) };
    let label = |variant: &str| Label {
        operation: Operation::Grouped,
        variant: variant.to_owned(),
        shape: form.shape,
        m: Some(rows),
        dtype,
    };
    let expert = |i: usize, e: usize| &weights[(i * TOKENS.len() + e) % weights.len()];
    let options = GemmOptions::default();
    bench.time(label("8 experts"), work, |context, sink, i| {
        let experts: Vec<&Weight> = (0..TOKENS.len()).map(|e| expert(i, e)).collect();
        sink.rewind();
        let mut out = output(sink, dtype, rows, n)?;
        quant::grouped_gemm(context, input.view()?, &offsets, &experts, options, &mut out)
    })?;
    bench.time(label("one by one"), work, |context, sink, i| {
        sink.rewind();
        for (e, part) in parts.iter().enumerate().filter(|(e, _)| TOKENS[*e] > 0) {
            let mut out = output(sink, dtype, TOKENS[e], n)?;
            quant::gemm(context, part.view()?, expert(i, e), None, options, &mut out)?;
        }
        Ok(())
    })?;
    Ok(())
}

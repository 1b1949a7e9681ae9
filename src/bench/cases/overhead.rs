//! What a call costs before it computes anything.

use super::Bench;
use crate::bench::figure::{Label, Operation, Work};
use crate::bench::operands::{Form, Input, output};
use crate::dtype::FloatType;
use crate::error::Result;
use crate::quant::{self, GemmOptions};

/// Calls per measurement: one is shorter than the clock can tell.
const CALLS: usize = 64;

/// An empty loop over all threads, and a product that is over at once.
pub(in crate::bench) fn overhead(bench: &mut Bench<'_>) -> Result<()> {
    let label = |variant: &str, shape, m| Label {
        operation: Operation::Overhead,
        variant: variant.to_owned(),
        shape,
        m,
        dtype: FloatType::F32,
    };
    bench.time_calls(CALLS, label("empty loop", (0, 0), None), Work::default(), |context, _, _| {
        let runner = context.host().runner();
        (0..CALLS).for_each(|_| runner.run(runner.threads(), &|i| _ = std::hint::black_box(i)));
        Ok(())
    })?;
    let form = Form::plain((64, 64));
    let weight = form.weight(&mut bench.source)?;
    let input = Input::new(&mut bench.source, FloatType::F32, 1, 64)?;
    bench.time_calls(CALLS, label("product", form.shape, Some(1)), Work::default(), |context, sink, _| {
        let mut out = output(sink, FloatType::F32, 1, 64)?;
        (0..CALLS).try_for_each(|_| {
            quant::gemm(context, input.view()?, &weight, None, GemmOptions::default(), &mut out)
        })
    })?;
    Ok(())
}

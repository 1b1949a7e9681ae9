//! Dequantizing.

use super::Bench;
use crate::bench::figure::{Bound, Label, Operation, Work};
use crate::bench::operands::{Form, output};
use crate::dtype::FloatType;
use crate::error::Result;
use crate::quant;

/// Cold weights to cold memory.
pub(in crate::bench) fn dequantize(bench: &mut Bench<'_>, form: Form, dtype: FloatType) -> Result<()> {
    let weights = form.weights(&mut bench.source)?;
    let written = form.geometry().numel as usize * dtype.size();
    let bound = Some(Bound::Memory { read: form.bytes(), written, copied: 0 });
    let label = Label {
        operation: Operation::Dequantize,
        variant: format!("block {}{}", form.block.get(), if form.double { ", double" } else { "" }),
        shape: form.shape,
        m: None,
        dtype,
    };
    bench.time(label, Work { bytes: form.bytes() + written, flops: 0.0, bound }, |context, sink, i| {
        let mut out = output(sink, dtype, form.shape.0, form.shape.1)?;
        quant::dequantize(context, &weights[i % weights.len()], &mut out)
    })?;
    Ok(())
}

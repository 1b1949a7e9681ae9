//! Quantizing.

use super::Bench;
use crate::backend::{Backend, QuantizeJob};
use crate::bench::figure::{Bound, Label, Operation, Work};
use crate::bench::operands::{Form, Input};
use crate::codebook::{QuantType, Rule};
use crate::dtype::FloatType;
use crate::error::Result;
use crate::quant::{self, QuantSpec};

/// The kernels alone, cold memory to cold memory.
pub(in crate::bench) fn into_place(
    bench: &mut Bench<'_>,
    form: Form,
    dtype: FloatType,
    quant_type: QuantType,
    rule: Rule,
) -> Result<()> {
    let (geometry, numel) = (form.geometry(), form.geometry().numel as usize);
    let sources = inputs(bench, form, dtype)?;
    let bytes = numel * dtype.size() + form.bytes();
    let (packed, scales) = (geometry.packed_bytes() as usize, geometry.blocks() as usize * 4);
    let variant = format!("{} {} block {}", quant_type.name(), rule.name(), form.block.get());
    bench.time(label(variant, form, dtype), work(bytes), |context, sink, i| {
        let source = sources[i % sources.len()].view()?;
        let (codes, absmax) =
            sink.slot(packed.next_multiple_of(64) + scales)?.split_at_mut(packed.next_multiple_of(64));
        let job = QuantizeJob {
            source: source.raw().data,
            source_type: dtype,
            numel: geometry.numel,
            block_size: form.block,
            quant_type,
            rule,
            codes: codes.as_mut_ptr(),
            absmax: absmax.as_mut_ptr().cast(),
        };
        // SAFETY: the source has `numel` elements, the outputs were sized for them and are aligned to 64.
        unsafe { context.host().quantize(&job) }
    })?;
    Ok(())
}

/// As a caller sees it: the weight's memory allocated, touched for the first time, and freed; with
/// double quantization if the form says so.
pub(in crate::bench) fn to_new_weight(bench: &mut Bench<'_>, form: Form, dtype: FloatType) -> Result<()> {
    let sources = inputs(bench, form, dtype)?;
    let spec = QuantSpec { block_size: form.block, double_quant: form.double, ..QuantSpec::default() };
    let bytes = form.geometry().numel as usize * dtype.size() + form.bytes();
    let variant = format!("new weight{}", if form.double { ", double" } else { "" });
    bench.time(label(variant, form, dtype), work(bytes), |context, _, i| {
        quant::quantize(context, &spec, sources[i % sources.len()].view()?).map(drop)
    })?;
    Ok(())
}

fn label(variant: String, form: Form, dtype: FloatType) -> Label {
    Label { operation: Operation::Quantize, variant, shape: form.shape, m: None, dtype }
}

fn work(bytes: usize) -> Work {
    Work { bytes, flops: 0.0, bound: Some(Bound::Memory { read: 0, written: 0, copied: bytes }) }
}

/// Inputs enough to be cold when their turn comes.
fn inputs(bench: &mut Bench<'_>, form: Form, dtype: FloatType) -> Result<Vec<Input>> {
    let count = bench.source.slots(form.geometry().numel as usize * dtype.size());
    (0..count).map(|_| Input::new(&mut bench.source, dtype, form.shape.0, form.shape.1)).collect()
}

//! The measurements.

mod dequantize;
mod grouped;
mod overhead;
pub(super) mod product;
pub(super) mod quantize;

pub(super) use dequantize::dequantize;
pub(super) use grouped::grouped;
pub(super) use overhead::overhead;

use super::figure::{Figure, Label, Work};
use super::{Effort, Roofline, Sink, Source, measure};
use crate::context::Context;
use crate::error::Result;

/// What the measurements share.
pub(super) struct Bench<'a> {
    pub(super) context: Context,
    pub(super) roofline: Roofline,
    pub(super) source: Source,
    pub(super) sink: Sink,
    pub(super) effort: &'a Effort,
    pub(super) add: &'a mut dyn FnMut(Figure),
}

impl Bench<'_> {
    /// Measures `operation`, which gets the context, the memory to write to and the number of the
    /// repetition. Gives the median in seconds.
    fn time(
        &mut self,
        label: Label,
        work: Work,
        operation: impl FnMut(&Context, &mut Sink, usize) -> Result<()>,
    ) -> Result<f64> {
        self.time_calls(1, label, work, operation)
    }

    /// The same for an operation that consists of several calls, of which one is reported.
    fn time_calls(
        &mut self,
        calls: usize,
        label: Label,
        work: Work,
        mut operation: impl FnMut(&Context, &mut Sink, usize) -> Result<()>,
    ) -> Result<f64> {
        let (context, sink) = (&self.context, &mut self.sink);
        let (mut repetition, mut failure) = (0, None);
        let timing = measure(self.effort, || {
            if let Err(error) = operation(context, sink, repetition) {
                failure.get_or_insert(error);
            }
            repetition += 1;
        })
        .per_call(calls);
        if let Some(error) = failure {
            return Err(error);
        }
        let (isa, threads) = (self.context.host().isa(), self.context.threads());
        (self.add)(Figure::new(label, isa, threads, timing, work));
        Ok(timing.median)
    }
}

//! The measurements.

mod dequantize;
mod grouped;
mod overhead;
pub(super) mod product;
pub(super) mod quantize;

pub(super) use dequantize::dequantize;
pub(super) use grouped::grouped;
pub(super) use overhead::overhead;

use super::bandwidth;
use super::figure::{Bound, Figure, Label, Work};
use super::timing::measure_in_turn;
use super::{Effort, Roofline, Sink, Source};
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
        let memory = match work.bound {
            Some(Bound::Memory { read, written, copied }) => Some((read, written, copied)),
            _ => None,
        };
        self.source.seek_half();
        let (context, roofline, source) = (&self.context, &self.roofline, &mut self.source);
        let sink = std::cell::RefCell::new(&mut self.sink);
        let failure = std::cell::RefCell::new(None);
        let keep = |outcome: Result<()>| {
            if let Err(error) = outcome {
                failure.borrow_mut().get_or_insert(error);
            }
        };
        let mut repetition = 0;
        let run = || {
            keep(operation(context, &mut sink.borrow_mut(), repetition));
            repetition += 1;
        };
        let mut move_bytes = || {
            let (read, written, copied) = memory.unwrap_or_default();
            keep(reference(context, roofline, source, &mut sink.borrow_mut(), [read, written, copied]));
        };
        let reference = memory.is_some().then_some(&mut move_bytes as &mut dyn FnMut());
        let timing = measure_in_turn(self.effort, run, reference).per_call(calls);
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        (self.add)(Figure::new(label, &self.context, &self.roofline, timing, work));
        Ok(timing.median)
    }
}

/// Moves as many bytes as an operation must, as fast as can be: cold ones are read, written, or
/// copied.
fn reference(
    context: &Context,
    roofline: &Roofline,
    source: &mut Source,
    sink: &mut Sink,
    [read, written, copied]: [usize; 3],
) -> Result<()> {
    let (runner, ways) = (context.host().runner(), &roofline.ways);
    if read > 0 {
        bandwidth::read(runner, source.slot(read)?.as_slice(), ways.read);
    }
    if written > 0 {
        bandwidth::write(runner, sink.slot(written)?, ways.write);
    }
    if copied > 0 {
        let from = source.slot(copied / 2)?;
        bandwidth::copy_all(runner, from.as_slice(), sink.slot(copied / 2)?, ways.copy);
    }
    Ok(())
}

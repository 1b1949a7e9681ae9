//! What this machine allows, with the threads that the kernels use: how fast its memory can be
//! read, written and copied, and how fast it can multiply.

use serde::Serialize;

use super::bandwidth::{self, COPIES, Fill, READS, Sum, WRITES};
use super::peak::{Peak, bf16_peak, f32_peak};
use super::{Effort, Sink, Source, measure};
use crate::backend::cpu::{CpuBackend, Runner};
use crate::error::Result;

/// Bytes per measured loop: past every private cache, long against its start.
const BYTES: usize = 128 << 20;

/// How to read, write and copy fastest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    pub(super) read: Sum,
    pub(super) write: Fill,
    pub(super) copy: bandwidth::Copy,
}

/// Bandwidths in bytes per second, rates in operations per second. Medians.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Roofline {
    /// Reading: the fastest of several ways.
    pub read: f64,
    /// Writing with ordinary stores.
    pub write: f64,
    /// Writing with stores that go past the caches.
    pub write_streamed: f64,
    /// Copying with ordinary stores: bytes read plus bytes written.
    pub copy: f64,
    /// Copying with stores that go past the caches.
    pub copy_streamed: f64,
    /// The faster way of each.
    #[serde(skip)]
    pub(super) ways: Ways,
    /// `f32` multiply-adds, two operations each, with the arm's instructions.
    pub f32_flops: f64,
    /// The same for `bf16` products summed in `f32`, if the arm has instructions for them.
    pub bf16_flops: Option<f64>,
    /// The largest share of the processors that others used during one of these.
    pub busy: Option<f64>,
}

impl Roofline {
    /// Measures with cold memory of `source` and `sink`.
    pub fn measure(cpu: &CpuBackend, source: &mut Source, sink: &mut Sink, effort: &Effort) -> Result<Self> {
        let meter = &mut Meter { runner: cpu.runner(), effort, busy: None };
        let (read, read_way) = fastest(READS.map(|way| meter.read(source, way)))?;
        let writes = [meter.write(sink, WRITES[0])?, meter.write(sink, WRITES[1])?];
        let copies = [meter.copy(source, sink, COPIES[0])?, meter.copy(source, sink, COPIES[1])?];
        let ways = Ways {
            read: READS[read_way],
            write: WRITES[usize::from(writes[1] > writes[0])],
            copy: COPIES[usize::from(copies[1] > copies[0])],
        };
        Ok(Roofline {
            read,
            write: writes[0],
            write_streamed: writes[1],
            copy: copies[0],
            copy_streamed: copies[1],
            ways,
            f32_flops: meter.arithmetic(&f32_peak(cpu.isa())),
            bf16_flops: bf16_peak(cpu.isa()).map(|peak| meter.arithmetic(&peak)),
            busy: meter.busy,
        })
    }

    /// Writing, with the faster kind of store.
    pub fn best_write(&self) -> f64 {
        self.write.max(self.write_streamed)
    }

    /// Copying, with the faster kind of store.
    pub fn best_copy(&self) -> f64 {
        self.copy.max(self.copy_streamed)
    }
}

/// The largest rate and where it stands.
fn fastest<const N: usize>(rates: [Result<f64>; N]) -> Result<(f64, usize)> {
    let mut best = (0.0, 0);
    for (i, rate) in rates.into_iter().enumerate() {
        let rate = rate?;
        if rate > best.0 {
            best = (rate, i);
        }
    }
    Ok(best)
}

struct Meter<'a> {
    runner: &'a Runner,
    effort: &'a Effort,
    busy: Option<f64>,
}

impl Meter<'_> {
    /// What `operation` does of `amount` per second.
    fn rate(&mut self, amount: f64, operation: impl FnMut()) -> f64 {
        let timing = measure(self.effort, operation);
        self.busy = if timing.busy > self.busy { timing.busy } else { self.busy };
        amount / timing.median
    }

    fn read(&mut self, source: &mut Source, sum: Sum) -> Result<f64> {
        let slots = slots(source)?;
        let (runner, mut turn) = (self.runner, slots.iter().cycle());
        Ok(self.rate(BYTES as f64, || {
            turn.next().into_iter().for_each(|slot| bandwidth::read(runner, slot.as_slice(), sum));
        }))
    }

    fn write(&mut self, sink: &mut Sink, fill: Fill) -> Result<f64> {
        sink.slot(BYTES)?;
        let runner = self.runner;
        Ok(self.rate(BYTES as f64, || {
            sink.slot(BYTES).into_iter().for_each(|to| bandwidth::write(runner, to, fill));
        }))
    }

    fn copy(&mut self, source: &mut Source, sink: &mut Sink, copy: bandwidth::Copy) -> Result<f64> {
        let slots = slots(source)?;
        sink.slot(BYTES)?;
        let (runner, mut turn) = (self.runner, slots.iter().cycle());
        Ok(self.rate(2.0 * BYTES as f64, || {
            if let (Some(from), Ok(to)) = (turn.next(), sink.slot(BYTES)) {
                bandwidth::copy_all(runner, from.as_slice(), to, copy);
            }
        }))
    }

    fn arithmetic(&mut self, peak: &Peak) -> f64 {
        const ROUNDS: u64 = 20_000;
        let tasks = self.runner.threads() * 8;
        let (runner, call) = (self.runner, peak.rounds);
        self.rate((tasks as u64 * ROUNDS * peak.flops_per_round) as f64, || {
            // SAFETY: the loop is of the backend's own arm, which the machine supports.
            runner.run(tasks, &|_| unsafe { call(ROUNDS) });
        })
    }
}

fn slots(source: &mut Source) -> Result<Vec<crate::memory::Bytes>> {
    (0..source.slots(BYTES)).map(|_| source.slot(BYTES)).collect()
}

//! One line of the result.

use serde::Serialize;

use super::{Roofline, Timing};
use crate::context::Context;
use crate::dtype::FloatType;
use crate::error::{Error, Result, err};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Floats to codes and absmax.
    Quantize,
    /// Codes and absmax to floats.
    Dequantize,
    /// `x · Wᵀ`.
    Gemm,
    /// `x · W`, the gradient with respect to the input.
    Transpose,
    /// Products with several experts in one call.
    Grouped,
    /// What a call costs before it computes anything.
    Overhead,
}

impl Operation {
    /// All of them, in the order they are measured.
    pub const ALL: [Operation; 6] = [
        Operation::Quantize,
        Operation::Dequantize,
        Operation::Gemm,
        Operation::Transpose,
        Operation::Grouped,
        Operation::Overhead,
    ];

    /// Its name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Quantize => "quantize",
            Operation::Dequantize => "dequantize",
            Operation::Gemm => "gemm",
            Operation::Transpose => "transpose",
            Operation::Grouped => "grouped",
            Operation::Overhead => "overhead",
        }
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|o| o.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Operation::name).join(", ");
            err!(InvalidArgument, "operation \"{name}\": expected one of {names}")
        })
    }
}

impl std::str::FromStr for Operation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

/// What limits an operation at best.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// Bytes that must be read and written; `copied` counts both.
    Memory { read: usize, written: usize, copied: usize },
    /// Seconds of arithmetic, and of what kind.
    Arithmetic { seconds: f64, name: &'static str },
}

impl Bound {
    /// The longer of reading the weight and multiplying.
    pub(super) fn product(roofline: &Roofline, dtype: FloatType, bytes: usize, flops: f64) -> Self {
        let (rate, name) = match (dtype, roofline.bf16_flops) {
            (FloatType::Bf16, Some(rate)) => (rate, "bf16"),
            // 11 bits are two terms of 8: three products of terms.
            (FloatType::F16, Some(rate)) if rate / 3.0 > roofline.f32_flops => (rate / 3.0, "bf16/3"),
            _ => (roofline.f32_flops, "f32"),
        };
        let memory = Bound::Memory { read: bytes, written: 0, copied: 0 };
        let arithmetic = Bound::Arithmetic { seconds: flops / rate, name };
        if arithmetic.seconds(roofline) > memory.seconds(roofline) { arithmetic } else { memory }
    }

    /// The shortest time that the roofline allows.
    pub(super) fn seconds(&self, roofline: &Roofline) -> f64 {
        match *self {
            Bound::Memory { read, written, copied } => {
                read as f64 / roofline.read
                    + written as f64 / roofline.best_write()
                    + copied as f64 / roofline.best_copy()
            }
            Bound::Arithmetic { seconds, .. } => seconds,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Bound::Memory { copied: 1.., .. } => "copy",
            Bound::Memory { written: 1.., .. } => "read+write",
            Bound::Memory { .. } => "read",
            Bound::Arithmetic { name, .. } => name,
        }
    }
}

/// How long one operation takes, and how near that is to what the machine allows.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub operation: Operation,
    /// Its options.
    pub variant: String,
    /// Rows of the weight (output features); 0 if there is none.
    pub n: u64,
    /// Columns of the weight (input features).
    pub k: u64,
    /// Rows of the input, for products.
    pub m: Option<u64>,
    /// Element type of the float operands.
    pub dtype: &'static str,
    /// The arm.
    pub isa: &'static str,
    /// Threads.
    pub threads: usize,
    /// Milliseconds, the median.
    pub ms: f64,
    /// The smallest.
    pub fastest_ms: f64,
    /// How many were taken.
    pub count: usize,
    /// 10⁹ bytes of weights and, but for products, of floats per second.
    pub gb_per_s: Option<f64>,
    /// 10⁹ operations per second, for products.
    pub gflop_per_s: Option<f64>,
    /// Milliseconds at the bound: of memory, moving as many bytes, timed in turn with the operation;
    /// of arithmetic, at the roofline's rate.
    pub bound_ms: Option<f64>,
    /// Which roof: read, copy, read+write, f32, bf16.
    pub bound: Option<&'static str>,
    /// `bound_ms / ms`.
    pub fraction: Option<f64>,
    /// Share of all processors that others used meanwhile.
    pub busy: Option<f64>,
}

/// What a figure is about; the rest is measured.
pub(super) struct Label {
    pub(super) operation: Operation,
    pub(super) variant: String,
    pub(super) shape: (u64, u64),
    pub(super) m: Option<u64>,
    pub(super) dtype: FloatType,
}

/// What an operation moves and computes.
#[derive(Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) bytes: usize,
    pub(super) flops: f64,
    pub(super) bound: Option<Bound>,
}

impl Figure {
    pub(super) fn new(
        label: Label,
        context: &Context,
        roofline: &Roofline,
        timing: Timing,
        work: Work,
    ) -> Self {
        let bound = timing.reference.or(work.bound.map(|b| b.seconds(roofline)));
        let per_second = |amount: f64| (amount > 0.0).then(|| amount / timing.median / 1e9);
        Figure {
            operation: label.operation,
            variant: label.variant,
            n: label.shape.0,
            k: label.shape.1,
            m: label.m,
            dtype: label.dtype.torch_name(),
            isa: context.host().isa().name(),
            threads: context.threads(),
            ms: timing.median * 1e3,
            fastest_ms: timing.fastest * 1e3,
            count: timing.count,
            gb_per_s: per_second(work.bytes as f64),
            gflop_per_s: per_second(work.flops),
            bound_ms: bound.map(|seconds| seconds * 1e3),
            bound: work.bound.map(|b| b.name()),
            fraction: bound.map(|seconds| seconds / timing.median),
            busy: timing.busy,
        }
    }
}

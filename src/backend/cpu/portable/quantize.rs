//! Quantize, one element after the other.

use super::convert::load;
use crate::backend::QuantizeJob;
use crate::codebook::{Decision, Rule};

/// The largest block size.
const MAX_BLOCK: usize = 4096;

/// bitsandbytes' lower limit of a divisor: `1e-38` in binary32, a denormal.
pub(crate) const MIN_ABSMAX: f32 = f32::from_bits(0x006c_e3ee);

/// How a block's elements are scaled to [-1, 1].
#[derive(Clone, Copy)]
enum Scaling {
    /// CPU rule, full block: multiply by the rounded reciprocal.
    Reciprocal(f32),
    /// CPU rule, partial last block: divide.
    Quotient(f32),
    /// CUDA rule: multiply by the rounded reciprocal, denormals flushed.
    FlushedReciprocal(f32),
}

impl Scaling {
    fn apply(self, x: f32) -> f32 {
        match self {
            Scaling::Reciprocal(r) => x * r,
            Scaling::Quotient(m) => x / m,
            Scaling::FlushedReciprocal(r) => flush(flush(x) * r),
        }
    }
}

/// Quantizes the job.
///
/// # Safety
/// The job's pointers are as its fields say.
pub(crate) unsafe fn quantize(job: &QuantizeJob) {
    let block_size = job.block_size.get();
    let numel = job.numel as usize;
    let decision = job.decision();
    let mut buffer = [0f32; MAX_BLOCK];
    for (block, first) in (0..numel).step_by(block_size).enumerate() {
        let values = &mut buffer[..block_size.min(numel - first)];
        // SAFETY: the block lies inside the job; `first` is even.
        unsafe {
            load(job.source.add(first * job.source_type.size()), job.source_type, values);
            let (absmax, scaling) = analyze(values, job.rule, values.len() == block_size);
            *job.absmax.add(block) = absmax;
            encode(values, scaling, decision, job.codes.add(first / 2));
        }
    }
}

/// The absmax to store and the scaling of a block's elements.
fn analyze(values: &[f32], rule: Rule, full: bool) -> (f32, Scaling) {
    match rule {
        Rule::BnbCpu => {
            let absmax = values.iter().fold(0.0, |m, x| max_or_nan(m, x.abs()));
            let divisor = max_or_nan(absmax, MIN_ABSMAX);
            if full {
                (absmax, Scaling::Reciprocal(1.0 / divisor))
            } else {
                (divisor, Scaling::Quotient(divisor))
            }
        }
        Rule::BnbCuda => {
            // `f32::max` ignores NaN. The kernel reads zeros past the end.
            let start = if full { f32::MIN } else { 0.0 };
            let absmax = values.iter().fold(start, |m, x| m.max(flush(x.abs())));
            (absmax, Scaling::FlushedReciprocal(flush(1.0 / absmax)))
        }
    }
}

/// The larger one; the canonical NaN if either is NaN.
fn max_or_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

/// A denormal becomes a zero of its sign.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// Writes the codes of one block; an odd count is padded with the code of zero.
///
/// # Safety
/// `codes` has room for half as many bytes, rounded up.
unsafe fn encode(values: &[f32], scaling: Scaling, decision: &Decision, codes: *mut u8) {
    let code = |x: f32| decision.code(scaling.apply(x));
    for (i, pair) in values.chunks(2).enumerate() {
        let low = pair.get(1).map_or_else(|| decision.code(0.0), |x| code(*x));
        // SAFETY: the caller's contract.
        unsafe { *codes.add(i) = code(pair[0]) << 4 | low };
    }
}

//! What the vector arms of quantize share: the walk over blocks, each rule's scaling, and the
//! blocks that vector code leaves to the portable kernel.

use super::portable;
use crate::backend::QuantizeJob;
use crate::codebook::{Decision, Rule};
use crate::dtype::FloatType;

/// Vector code encodes a multiple of this many elements.
pub(crate) const STEP: usize = 128;
/// Elements per run, if a block is not larger: they stay in the first-level cache between the
/// search for the absmax and the encoding.
const RUN: usize = 2048;
/// The most blocks of a run.
const RUN_BLOCKS: usize = RUN / 32;

/// An arm's two inner loops.
pub(crate) struct QuantizeArm {
    /// Writes the bits of each block's largest magnitude as an `f32`. Any NaN exceeds infinity.
    pub(crate) absmax: unsafe fn(source: *const u8, FloatType, block_size: usize, bits: &mut [u32]),
    /// Encodes a run.
    pub(crate) encode: unsafe fn(&Run),
}

/// Full blocks to encode, with all that depends on the rule worked out.
pub(crate) struct Run {
    /// `numel` elements; any alignment.
    pub(crate) source: *const u8,
    /// Their type.
    pub(crate) source_type: FloatType,
    /// A multiple of [`STEP`].
    pub(crate) numel: usize,
    /// One per block: an element `x` is encoded as the code of `x * multiplier`.
    pub(crate) multipliers: [f32; RUN_BLOCKS],
    /// log2 of the block size.
    pub(crate) shift: u32,
    /// Take denormal elements for zero.
    pub(crate) flush: bool,
    /// The bounds, ascending: the code is `codes[k]`, with `k` the number of bounds that are not
    /// at or above the scaled value, so that NaN is above all. The last entry is never compared.
    pub(crate) bounds: [f32; 16],
    /// Nibble of each interval.
    pub(crate) codes: [u8; 16],
    /// Whether `codes[k]` is `k`.
    pub(crate) ascending: bool,
    /// `numel / 2` bytes; any alignment.
    pub(crate) output: *mut u8,
}

/// Quantizes the job with an arm's loops.
///
/// # Safety
/// The job's pointers are as its fields say, and the machine has the arm's instructions.
pub(crate) unsafe fn drive(job: &QuantizeJob, arm: &QuantizeArm) {
    let block_size = job.block_size.get();
    let run_blocks = (RUN / block_size).max(1);
    let step_blocks = (STEP / block_size).max(1);
    let vector_blocks = job.numel as usize / block_size / step_blocks * step_blocks;
    let mut run = prepare(job);
    for first in (0..vector_blocks).step_by(run_blocks) {
        let blocks = run_blocks.min(vector_blocks - first);
        // SAFETY: the blocks lie inside the job.
        unsafe { one_run(job, arm, &mut run, first, blocks) };
    }
    let first = vector_blocks * block_size;
    // SAFETY: what is left of the job.
    unsafe { portable::quantize(&part(job, first, job.numel as usize - first)) };
}

/// The elements `first..first + numel` of a job; `first` is a multiple of the block size.
///
/// # Safety
/// They lie inside the job.
pub(crate) unsafe fn part(job: &QuantizeJob, first: usize, numel: usize) -> QuantizeJob {
    // SAFETY: the caller's contract.
    unsafe {
        QuantizeJob {
            source: job.source.add(first * job.source_type.size()),
            numel: numel as u64,
            codes: job.codes.add(first / 2),
            absmax: job.absmax.add(first >> job.block_size.shift()),
            ..*job
        }
    }
}

fn prepare(job: &QuantizeJob) -> Run {
    let decision: &Decision = job.decision();
    let flush = job.rule == Rule::BnbCuda;
    let mut bounds = [f32::INFINITY; 16];
    for (b, bound) in bounds.iter_mut().zip(decision.bounds) {
        // The scaled value would be flushed as well. The one denormal bound asks "below zero?",
        // which a flushed value is from the smallest normal number on.
        *b = if flush && bound.is_subnormal() { f32::MIN_POSITIVE.copysign(bound) } else { bound };
    }
    Run {
        source: job.source,
        source_type: job.source_type,
        numel: 0,
        multipliers: [0.0; RUN_BLOCKS],
        shift: job.block_size.shift(),
        flush,
        bounds,
        codes: decision.codes,
        ascending: decision.codes.is_sorted(),
        output: job.codes,
    }
}

/// # Safety
/// The blocks lie inside the job, are full, and make a multiple of [`STEP`] elements.
unsafe fn one_run(job: &QuantizeJob, arm: &QuantizeArm, run: &mut Run, first: usize, blocks: usize) {
    let block_size = job.block_size.get();
    let mut bits = [0u32; RUN_BLOCKS];
    let bits = &mut bits[..blocks];
    // SAFETY: the caller's contract.
    unsafe {
        let part = part(job, first * block_size, blocks * block_size);
        (arm.absmax)(part.source, part.source_type, block_size, bits);
        (run.source, run.numel, run.output) = (part.source, blocks * block_size, part.codes);
        let absmax = std::slice::from_raw_parts_mut(part.absmax, blocks);
        let all_plain = match job.rule {
            Rule::BnbCpu => scale_cpu(bits, absmax, &mut run.multipliers),
            Rule::BnbCuda => scale_cuda(bits, absmax, &mut run.multipliers),
        };
        (arm.encode)(run);
        if !all_plain {
            for block in (0..blocks).filter(|b| !is_plain(bits[*b])) {
                portable::quantize(&self::part(&part, block * block_size, block_size));
            }
        }
    }
}

/// CPU rule: NaN and infinity need no care, since NaN products take the last code, as they should.
fn scale_cpu(bits: &[u32], absmax: &mut [f32], multipliers: &mut [f32]) -> bool {
    for ((bits, absmax), multiplier) in bits.iter().zip(absmax).zip(multipliers) {
        let m = f32::from_bits(*bits);
        *absmax = if m.is_nan() { f32::NAN } else { m };
        *multiplier = 1.0 / if m < portable::MIN_ABSMAX { portable::MIN_ABSMAX } else { *absmax };
    }
    true
}

/// CUDA rule; whether all blocks are plain. The others are encoded again.
fn scale_cuda(bits: &[u32], absmax: &mut [f32], multipliers: &mut [f32]) -> bool {
    let mut all_plain = true;
    for ((bits, absmax), multiplier) in bits.iter().zip(absmax).zip(multipliers) {
        all_plain &= is_plain(*bits);
        *absmax = f32::from_bits(*bits);
        let reciprocal = 1.0 / *absmax;
        *multiplier = if reciprocal < f32::MIN_POSITIVE { 0.0 } else { reciprocal };
    }
    all_plain
}

/// Whether a largest magnitude is a normal number.
fn is_plain(bits: u32) -> bool {
    (0x0080_0000..0x7f80_0000).contains(&bits)
}

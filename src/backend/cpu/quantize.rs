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

/// An arm's inner loops. All are unsafe in the same way: the machine has the arm's instructions.
pub(crate) trait QuantizeArm {
    /// The bounds as the arm looks them up.
    type Search;

    /// Arranges ascending bounds, the last of them infinite.
    unsafe fn search(bounds: &[f32; 16]) -> Self::Search;

    /// Writes the bits of each block's largest magnitude as an `f32`. Any NaN exceeds infinity.
    /// `source` holds the blocks, at any alignment.
    unsafe fn absmax(source: *const u8, source_type: FloatType, block_size: usize, bits: &mut [u32]);

    /// Encodes a run: the code of `x` is `codes[k]`, with `k` the number of bounds below
    /// `x * multiplier`. What infinity and NaN become does not matter.
    unsafe fn encode(run: &Run, search: &Self::Search);
}

/// Full blocks to encode, with all that depends on the rule worked out.
pub(crate) struct Run {
    /// `numel` elements; any alignment.
    pub(crate) source: *const u8,
    /// Their type.
    pub(crate) source_type: FloatType,
    /// A multiple of [`STEP`].
    pub(crate) numel: usize,
    /// One per block.
    pub(crate) multipliers: [f32; RUN_BLOCKS],
    /// log2 of the block size.
    pub(crate) shift: u32,
    /// Take denormal elements for zero.
    pub(crate) flush: bool,
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
pub(crate) unsafe fn drive<A: QuantizeArm>(job: &QuantizeJob) {
    let block_size = job.block_size.get();
    let run_blocks = (RUN / block_size).max(1);
    let step_blocks = (STEP / block_size).max(1);
    let vector_blocks = job.numel as usize / block_size / step_blocks * step_blocks;
    let mut run = prepare(job);
    // SAFETY: the machine has the arm's instructions.
    let search = unsafe { A::search(&bounds(job)) };
    for first in (0..vector_blocks).step_by(run_blocks) {
        let blocks = run_blocks.min(vector_blocks - first);
        // SAFETY: the blocks lie inside the job.
        unsafe { one_run::<A>(job, &search, &mut run, first, blocks) };
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

/// The bounds of the job's decision table, followed by infinity.
fn bounds(job: &QuantizeJob) -> [f32; 16] {
    let mut bounds = [f32::INFINITY; 16];
    for (b, bound) in bounds.iter_mut().zip(job.decision().bounds) {
        // The scaled value would be flushed as well. The one denormal bound asks "below zero?",
        // which a flushed value is from the smallest normal number on.
        let flushed = job.rule == Rule::BnbCuda && bound.is_subnormal();
        *b = if flushed { f32::MIN_POSITIVE.copysign(bound) } else { bound };
    }
    bounds
}

fn prepare(job: &QuantizeJob) -> Run {
    let decision: &Decision = job.decision();
    Run {
        source: job.source,
        source_type: job.source_type,
        numel: 0,
        multipliers: [0.0; RUN_BLOCKS],
        shift: job.block_size.shift(),
        flush: job.rule == Rule::BnbCuda,
        codes: decision.codes,
        ascending: decision.codes.is_sorted(),
        output: job.codes,
    }
}

/// # Safety
/// The blocks lie inside the job, are full, and make a multiple of [`STEP`] elements.
unsafe fn one_run<A: QuantizeArm>(
    job: &QuantizeJob,
    search: &A::Search,
    run: &mut Run,
    first: usize,
    blocks: usize,
) {
    let block_size = job.block_size.get();
    let mut bits = [0u32; RUN_BLOCKS];
    let bits = &mut bits[..blocks];
    // SAFETY: the caller's contract.
    unsafe {
        let part = part(job, first * block_size, blocks * block_size);
        A::absmax(part.source, part.source_type, block_size, bits);
        (run.source, run.numel, run.output) = (part.source, blocks * block_size, part.codes);
        let absmax = std::slice::from_raw_parts_mut(part.absmax, blocks);
        let all_plain = match job.rule {
            Rule::BnbCpu => scale_cpu(bits, absmax, &mut run.multipliers),
            Rule::BnbCuda => scale_cuda(bits, absmax, &mut run.multipliers),
        };
        A::encode(run, search);
        if !all_plain {
            for block in (0..blocks).filter(|b| !is_plain(job.rule, bits[*b])) {
                portable::quantize(&self::part(&part, block * block_size, block_size));
            }
        }
    }
}

/// CPU rule; whether all blocks are plain. The others are encoded again.
fn scale_cpu(bits: &[u32], absmax: &mut [f32], multipliers: &mut [f32]) -> bool {
    let mut all_plain = true;
    for ((bits, absmax), multiplier) in bits.iter().zip(absmax).zip(multipliers) {
        all_plain &= is_plain(Rule::BnbCpu, *bits);
        *absmax = f32::from_bits(*bits);
        *multiplier = 1.0 / absmax.max(portable::MIN_ABSMAX);
    }
    all_plain
}

/// CUDA rule; whether all blocks are plain. The others are encoded again.
fn scale_cuda(bits: &[u32], absmax: &mut [f32], multipliers: &mut [f32]) -> bool {
    let mut all_plain = true;
    for ((bits, absmax), multiplier) in bits.iter().zip(absmax).zip(multipliers) {
        all_plain &= is_plain(Rule::BnbCuda, *bits);
        *absmax = f32::from_bits(*bits);
        let reciprocal = 1.0 / *absmax;
        *multiplier = if reciprocal < f32::MIN_POSITIVE { 0.0 } else { reciprocal };
    }
    all_plain
}

/// Whether vector code encodes a block with that largest magnitude as the rule asks: nothing in it
/// is infinite or NaN, and under the CUDA rule it is not a block of zeros and denormals.
fn is_plain(rule: Rule, bits: u32) -> bool {
    let smallest = if rule == Rule::BnbCuda { f32::MIN_POSITIVE.to_bits() } else { 0 };
    (smallest..f32::INFINITY.to_bits()).contains(&bits)
}

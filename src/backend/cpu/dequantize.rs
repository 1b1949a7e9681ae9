//! What the vector arms of dequantize share: the walk over blocks, reading the scales, streaming
//! large outputs, and the partial last block, which the portable kernel decodes.

use super::portable;
use super::stream::{self, LineWriter};
use crate::backend::DequantizeJob;
use crate::dtype::FloatType;

/// Elements per run: few, so that memory takes the stores of one while the next is decoded.
const RUN: usize = stream::WRITE_BYTES / 4;
const RUN_SHIFT: u32 = RUN.trailing_zeros();

/// Elements between what is decoded and what is fetched from memory. Processors fetch ahead by
/// themselves, but not across pages, of which a run of codes fills a sixteenth.
const AHEAD: usize = 8192;

/// An arm's inner loop: decodes `scales.len() << shift` elements. `shift` is at least 5, and
/// neither pointer need be aligned.
pub(crate) type DecodeRun = unsafe fn(
    codes: *const u8,
    codebook: &[f32; 16],
    scales: &[f32],
    shift: u32,
    output: *mut u8,
    output_type: FloatType,
);

/// Decodes `blocks` blocks from `first_block` with an arm's loop; the last may be partial.
///
/// # Safety
/// The job's pointers are as its fields say, the blocks lie inside the job, and the machine has
/// the arm's instructions.
pub(crate) unsafe fn drive(job: &DequantizeJob, first_block: u64, blocks: u64, decode: DecodeRun) {
    let shift = job.weight.block_size.shift();
    let first = (first_block << shift) as usize;
    let end = ((first_block + blocks) << shift).min(job.numel) as usize;
    let full_end = end >> shift << shift;
    let size = job.output_type.size();
    let streamed = stream::pays(job.numel * size as u64);
    // SAFETY: the runs lie inside the job and end at a block's end or inside a larger block.
    unsafe {
        if streamed {
            let mut writer = LineWriter::new(job.output.add(first * size));
            for start in (first..full_end).step_by(RUN) {
                let numel = RUN.min(full_end - start);
                decode_run(job, start, numel, writer.room(), decode);
                writer.commit(numel * size);
            }
            writer.finish();
        } else {
            for start in (first..full_end).step_by(RUN) {
                let numel = RUN.min(full_end - start);
                decode_run(job, start, numel, job.output.add(start * size), decode);
            }
        }
    }
    if full_end < end {
        // SAFETY: the partial block is the last of the job.
        unsafe { portable::dequantize(job, (full_end >> shift) as u64, 1) };
    }
}

/// # Safety
/// As [`drive`]; `start` is a multiple of [`RUN`] from a block's start, and `output` has room.
unsafe fn decode_run(job: &DequantizeJob, start: usize, numel: usize, output: *mut u8, decode: DecodeRun) {
    let weight = &job.weight;
    let shift = weight.block_size.shift();
    let mut buffer = [0f32; RUN / 32];
    for line in (0..RUN / 2).step_by(64) {
        stream::prefetch(weight.codes.wrapping_add(start / 2 + AHEAD / 2 + line));
    }
    weight.scales.prefetch((start + AHEAD) >> shift);
    // SAFETY: the caller's contract; runs are even, so they start at a byte.
    unsafe {
        let scales = weight.scales.run(start >> shift, (numel >> shift).max(1), &mut buffer);
        let codes = weight.codes.add(start / 2);
        decode(codes, &weight.codebook, scales, shift.min(RUN_SHIFT), output, job.output_type);
    }
}

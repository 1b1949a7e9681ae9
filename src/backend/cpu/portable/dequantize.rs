//! Dequantize, one element after the other.

use super::convert::store;
use crate::backend::{DequantizeJob, WeightRef};

/// Elements decoded at a time.
const STEP: usize = 256;

/// Decodes `blocks` blocks from `first_block`; the last may be partial.
///
/// # Safety
/// The job's pointers are as its fields say, and the blocks lie inside the job.
pub(crate) unsafe fn dequantize(job: &DequantizeJob, first_block: u64, blocks: u64) {
    let shift = job.weight.block_size.shift();
    let first = (first_block << shift) as usize;
    let end = job.numel.min((first_block + blocks) << shift) as usize;
    let mut buffer = [0f32; STEP];
    for start in (first..end).step_by(STEP) {
        let values = &mut buffer[..STEP.min(end - start)];
        // SAFETY: `start + values.len() <= end <= numel`.
        unsafe {
            decode(&job.weight, start, values);
            store(values, job.output.add(start * job.output_type.size()), job.output_type);
        }
    }
}

/// Decodes the elements `first..first + out.len()` of the flat stream to `f32`.
///
/// # Safety
/// The weight's pointers cover those elements.
pub(crate) unsafe fn decode(weight: &WeightRef, first: usize, out: &mut [f32]) {
    let shift = weight.block_size.shift();
    let mut i = 0;
    while i < out.len() {
        let block = (first + i) >> shift;
        let end = out.len().min(((block + 1) << shift) - first);
        // SAFETY: the block holds element `first + i`.
        let scale = unsafe { weight.scales.get(block) };
        for (element, o) in (first + i..).zip(&mut out[i..end]) {
            // SAFETY: `element` is covered.
            let byte = unsafe { *weight.codes.add(element / 2) };
            let nibble = if element % 2 == 0 { byte >> 4 } else { byte & 15 };
            *o = weight.codebook[usize::from(nibble)] * scale;
        }
        i = end;
    }
}

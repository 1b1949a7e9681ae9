//! Addressing of the rows of a job's input and output.

use crate::backend::GemmJob;
use crate::dtype::FloatType;

/// Where a run of finished sums goes, and what is added on the way:
/// `output[i] = round(sums[i] (+ bias[i]) (+ output[i]))`.
pub(crate) struct OutputRow {
    /// The first element.
    pub(crate) output: *mut u8,
    pub(crate) output_type: FloatType,
    /// The bias of the first element, or null.
    pub(crate) bias: *const u8,
    pub(crate) bias_type: FloatType,
    /// Add what `output` holds.
    pub(crate) accumulate: bool,
}

/// Terms of one sum and sums per output row: what `n` and `k` are to a product.
pub(super) fn depth_and_width(job: &GemmJob) -> (usize, usize) {
    if job.transpose { (job.n as usize, job.k as usize) } else { (job.k as usize, job.n as usize) }
}

/// The address of element `column` of input row `row`.
pub(crate) fn input_at(job: &GemmJob, row: usize, column: usize) -> *const u8 {
    let element = row as isize * job.input_stride as isize + column as isize;
    job.input.wrapping_offset(element * job.input_type.size() as isize)
}

/// The run of output row `row` that starts at `column`.
pub(super) fn output_at(job: &GemmJob, row: usize, column: usize) -> OutputRow {
    let element = row as isize * job.output_stride as isize + column as isize;
    let bias = match job.bias.is_null() {
        true => job.bias,
        false => job.bias.wrapping_add(column * job.bias_type.size()),
    };
    OutputRow {
        output: job.output.wrapping_offset(element * job.output_type.size() as isize),
        output_type: job.output_type,
        bias,
        bias_type: job.bias_type,
        accumulate: job.accumulate,
    }
}

/// The job for the input and output rows `first..first + count` alone.
pub(super) fn row_range(job: &GemmJob, first: usize, count: usize) -> GemmJob {
    GemmJob {
        m: count as u64,
        input: input_at(job, first, 0),
        output: output_at(job, first, 0).output,
        ..*job
    }
}

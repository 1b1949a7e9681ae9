//! Products of packed input rows with weight rows, group after group: which kernel, where its codes
//! are, and its scales, in place or decoded.

use std::mem::MaybeUninit;

use super::kernels::{DOT_INPUTS, DOT_ROWS, DotKernels, DotRun, Kernels, ScaleLayout};
use crate::backend::{GemmJob, Scales};

/// Elements per call of a kernel: bounds the scales that are decoded at a time. A multiple of every
/// block size.
pub(super) const SEGMENT: usize = 8192;
/// Most scales of a segment.
pub(super) const SEGMENT_SCALES: usize = SEGMENT / 32;
/// Most weight rows per task.
pub(super) const TASK_ROWS: usize = 1024;

/// The sums of a task, `[input row][column]`.
pub(super) type Sums = [MaybeUninit<f32>; DOT_INPUTS * TASK_ROWS];

/// Scales of a run of one weight row.
type RowScales = [MaybeUninit<f32>; SEGMENT_SCALES];

/// Room for the decoded scales of a run.
pub(super) type Decoded = [RowScales; DOT_ROWS];

/// Packed input rows.
#[derive(Clone, Copy)]
pub(super) struct Inputs {
    pub(super) start: *const f32,
    /// At most [`DOT_INPUTS`].
    pub(super) rows: usize,
    /// From one to the next.
    pub(super) stride: usize,
}

/// Products of the input with weight rows that lag equally.
pub(super) struct Product<'a> {
    pub(super) job: &'a GemmJob,
    kernels: &'a Kernels,
    pub(super) dot: &'a DotKernels,
    pub(super) input: Inputs,
    lag: usize,
    pub(super) layout: ScaleLayout,
    /// Whether the scales in memory already stand in that layout's order.
    pub(super) consecutive: bool,
}

impl<'a> Product<'a> {
    /// Products with input rows that were packed for weight rows `lag` elements behind a multiple
    /// of 32.
    pub(super) fn new(
        job: &'a GemmJob,
        kernels: &'a Kernels,
        dot: &'a DotKernels,
        input: Inputs,
        lag: usize,
    ) -> Self {
        let whole_blocks = (job.k as usize).is_multiple_of(job.weight.block_size.get());
        let (layout, consecutive) = match job.weight.block_size.get() {
            32 => (ScaleLayout::By32, true),
            64 if whole_blocks => (ScaleLayout::By64, true),
            128.. if whole_blocks => (ScaleLayout::Wide, true),
            _ => (ScaleLayout::By32, false),
        };
        Product { job, kernels, dot, input, lag, layout, consecutive }
    }

    /// Writes the products with `groups` times `ROWS` (1 or [`DOT_ROWS`]) weight rows to
    /// `sums[input row][column(group, row)]`.
    ///
    /// # Safety
    /// Weight rows `first + column(..)` exist, and lag as the product says.
    #[allow(clippy::needless_range_loop)]
    pub(super) unsafe fn rows<const ROWS: usize>(
        &self,
        first: usize,
        groups: usize,
        column: impl Fn(usize, usize) -> usize,
        decoded: &mut Decoded,
        sums: &mut Sums,
    ) {
        let m = self.input.rows;
        let end = self.lag + self.job.k as usize;
        let kernels = if ROWS == DOT_ROWS { &self.dot.wide } else { &self.dot.narrow };
        let kernel = kernels[self.layout as usize][m - 1];
        let mut products = [0f32; DOT_ROWS * DOT_INPUTS];
        let mut run = self.no_run();
        for group in 0..groups {
            for start in (0..end).step_by(SEGMENT) {
                let length = SEGMENT.min(end - start);
                for row in 0..ROWS {
                    // Written one by one: the kernel could not load its addresses from a structure
                    // that was copied just before until the processor is done with all else.
                    let element = self.element(first + column(group, row), start);
                    run.codes[row] = self.job.weight.codes.wrapping_add(element / 2);
                    // SAFETY: the elements belong to the row.
                    run.scales[row] = unsafe { self.scales(element, length, &mut decoded[row]) };
                }
                run.input = self.input.start.wrapping_add(start);
                run.bytes = length.div_ceil(2);
                // SAFETY: the run lies inside the rows, the packed input is as long.
                unsafe { kernel(&run, products.as_mut_ptr()) };
            }
            for (row, products) in products.chunks_mut(m).enumerate().take(ROWS) {
                for (input, product) in products.iter_mut().enumerate() {
                    sums[input * TASK_ROWS + column(group, row)].write(*product);
                    *product = 0.0;
                }
            }
        }
    }

    /// A run whose place is not set.
    fn no_run(&self) -> DotRun<'_> {
        let weight = &self.job.weight;
        DotRun {
            codes: [std::ptr::null(); DOT_ROWS],
            scales: [std::ptr::null(); DOT_ROWS],
            shift: weight.block_size.shift().saturating_sub(7),
            input: self.input.start,
            input_stride: self.input.stride,
            bytes: 0,
            codebook: &weight.codebook,
        }
    }

    /// Where in the stream a row's part begins that meets the packed input from `start` on.
    pub(super) fn element(&self, row: usize, start: usize) -> usize {
        row * self.job.k as usize + start - self.lag
    }

    /// The blocks of a row's part: the first, and how many.
    fn blocks(&self, element: usize, length: usize) -> (usize, usize) {
        let shift = self.job.weight.block_size.shift();
        (element >> shift, ((element + length - 1) >> shift) - (element >> shift) + 1)
    }

    /// The scales of the elements `first..first + count` in the kernel's layout: in place if they
    /// stand so, else in `buffer`.
    ///
    /// # Safety
    /// The elements exist.
    unsafe fn scales(&self, first: usize, count: usize, buffer: &mut RowScales) -> *const f32 {
        match (self.job.weight.scales, self.consecutive) {
            (Scales::Plain { absmax }, true) => absmax.wrapping_add(self.blocks(first, count).0),
            // SAFETY: the caller's contract.
            _ => unsafe { self.decode(first, count, buffer) },
        }
    }

    /// Decodes the scales of the elements `first..first + count`, and if they are not consecutive
    /// spreads them to one per 32 elements.
    ///
    /// # Safety
    /// The elements exist.
    unsafe fn decode(&self, first: usize, count: usize, decoded: &mut RowScales) -> *const f32 {
        let weight = &self.job.weight;
        let (block, blocks) = self.blocks(first, count);
        // SAFETY: the blocks hold elements that exist; there are at most `SEGMENT / 32` of them,
        // since `first` is a multiple of 32.
        unsafe { (self.kernels.scales)(&weight.scales, block, blocks, decoded.as_mut_ptr().cast()) };
        if !self.consecutive {
            // Backwards, since the scale of a group stands at or before its place.
            for group in (0..count.div_ceil(32)).rev() {
                decoded[group] = decoded[((first + group * 32) >> weight.block_size.shift()) - block];
            }
        }
        decoded.as_ptr().cast()
    }
}

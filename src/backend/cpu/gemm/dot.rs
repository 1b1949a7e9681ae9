//! Few input rows: every weight row is read once, decoded in registers and multiplied with all of
//! them. Input rows are first widened to `f32` and put in the order in which decoding yields
//! weights.
//!
//! Codes are read from multiples of 32 elements of the flat stream, where blocks begin. A weight row
//! that begins up to 31 elements later meets an input row with as many zeros in front. Rows that lag
//! equally form a class; there are `32 / gcd(k, 32)` of them, one if 32 divides `k`.

use std::mem::MaybeUninit;

use super::super::runner::Runner;
use super::kernels::{DOT_INPUTS, DOT_ROWS, DotRun, Kernels, MAX_CHUNK, ScaleLayout};
use super::row::{input_at, output_at};
use crate::backend::{GemmJob, Scales};

/// Elements per call of a kernel: bounds the scales that are decoded at a time. A multiple of every
/// block size.
const SEGMENT: usize = 8192;
/// Most weight rows per task.
const TASK_ROWS: usize = 256;
/// Bytes of codes per task, about.
const TASK_BYTES: usize = 1 << 18;

/// Largest number of input rows that this path takes.
pub(super) const MAX_INPUTS: usize = DOT_INPUTS;

/// Row classes of a weight with `k` columns.
fn classes(k: usize) -> usize {
    32 >> k.trailing_zeros().min(5)
}

/// Elements between the start of a row of that class and the multiple of 32 before.
fn lag(class: usize, k: usize) -> usize {
    class * (k % 32) % 32
}

/// `f32` elements of a packed input row.
fn packed_length(k: usize, chunk: usize) -> usize {
    (k + if k.is_multiple_of(32) { 0 } else { 31 }).next_multiple_of(chunk)
}

/// Bytes of all packed input rows.
pub(super) fn input_bytes(job: &GemmJob, kernels: &Kernels) -> Option<usize> {
    let k = job.k as usize;
    let rows = (job.m as usize).checked_mul(classes(k))?;
    rows.checked_mul(k.checked_add(31 + kernels.dot.chunk)?)?.checked_mul(size_of::<f32>())
}

/// How many calls of [`pack`] prepare the input.
pub(super) fn pack_tasks(job: &GemmJob) -> usize {
    job.m as usize * classes(job.k as usize)
}

/// Packs one input row for one class of weight rows.
///
/// # Safety
/// The job's pointers are as its fields say; `packed` has [`input_bytes`] bytes.
pub(super) unsafe fn pack(job: &GemmJob, kernels: &Kernels, packed: *mut f32, task: usize) {
    let (k, m) = (job.k as usize, job.m as usize);
    let (class, row) = (task / m, task % m);
    let chunk = kernels.dot.chunk;
    let length = packed_length(k, chunk);
    let lag = lag(class, k);
    let mut natural = [0f32; MAX_CHUNK];
    for start in (0..length).step_by(chunk) {
        // Elements of the row that fall into this chunk.
        let first = start.saturating_sub(lag).min(k);
        let end = (start + chunk).saturating_sub(lag).min(k);
        let offset = first + lag - start.min(first + lag);
        if end - first < chunk {
            natural.fill(0.0);
        }
        // SAFETY: `offset + end - first <= chunk`, and the elements lie inside the row.
        unsafe {
            let source = input_at(job, row, first);
            (kernels.widen)(source, job.input_type, end - first, natural.as_mut_ptr().add(offset));
            (kernels.dot.pack)(natural.as_ptr(), packed.add((class * m + row) * length + start));
        }
    }
}

/// Weight rows per task.
pub(super) fn task_rows(job: &GemmJob, runner: &Runner) -> usize {
    let (n, k) = (job.n as usize, job.k as usize);
    let unit = DOT_ROWS * classes(k);
    let by_size = TASK_BYTES / k.div_ceil(2).max(1);
    let by_threads = n.div_ceil(runner.threads() * 4);
    by_size.min(by_threads).next_multiple_of(unit).clamp(unit, TASK_ROWS)
}

/// Computes output columns `first..first + count`.
///
/// # Safety
/// The job's pointers are as its fields say; the columns exist and are at most [`TASK_ROWS`];
/// `packed` was filled by [`pack`].
pub(super) unsafe fn columns(
    job: &GemmJob,
    kernels: &Kernels,
    packed: *const f32,
    first: usize,
    count: usize,
) {
    let (k, m) = (job.k as usize, job.m as usize);
    let classes = classes(k);
    let mut sums: Sums = [MaybeUninit::uninit(); DOT_INPUTS * TASK_ROWS];
    for offset in 0..classes.min(count) {
        let class = (first + offset) % classes;
        let product = Product::new(job, kernels, packed, class);
        let rows = (count - offset).div_ceil(classes);
        // Rows far apart make separate sequential streams, which the prefetchers follow.
        let apart = rows / DOT_ROWS;
        let column = |i: usize| offset + i * classes;
        for i in 0..apart {
            let columns: [usize; DOT_ROWS] = std::array::from_fn(|r| column(i + r * apart));
            // SAFETY: the columns lie inside the task.
            unsafe { product.rows(&columns, first, &mut sums) };
        }
        for i in apart * DOT_ROWS..rows {
            // SAFETY: as above.
            unsafe { product.rows(&[column(i)], first, &mut sums) };
        }
    }
    for (row, sums) in sums.chunks(TASK_ROWS).take(m).enumerate() {
        // SAFETY: the columns exist, and their sums were computed.
        unsafe { (kernels.finish)(&output_at(job, row, first), sums.as_ptr().cast(), count) };
    }
}

/// The sums of a task, `[input row][column]`.
type Sums = [MaybeUninit<f32>; DOT_INPUTS * TASK_ROWS];
/// Room for the scales of a segment.
type Decoded = [MaybeUninit<f32>; SEGMENT / 32];

/// Products of the input with weight rows of one class.
struct Product<'a> {
    job: &'a GemmJob,
    kernels: &'a Kernels,
    input: *const f32,
    input_stride: usize,
    lag: usize,
    layout: ScaleLayout,
    /// Whether the scales in memory already lie in that layout.
    consecutive: bool,
}

impl<'a> Product<'a> {
    fn new(job: &'a GemmJob, kernels: &'a Kernels, packed: *const f32, class: usize) -> Self {
        let (k, m) = (job.k as usize, job.m as usize);
        let input_stride = packed_length(k, kernels.dot.chunk);
        let whole_blocks = k.is_multiple_of(job.weight.block_size.get());
        let (layout, consecutive) = match job.weight.block_size.get() {
            32 => (ScaleLayout::By32, true),
            64 if whole_blocks => (ScaleLayout::By64, true),
            128.. if whole_blocks => (ScaleLayout::Wide, true),
            _ => (ScaleLayout::By32, false),
        };
        let input = packed.wrapping_add(class * m * input_stride);
        Product { job, kernels, input, input_stride, lag: lag(class, k), layout, consecutive }
    }

    /// Adds the products of `columns.len()` weight rows (1 or [`DOT_ROWS`]), all of this class, to
    /// `sums[input row][column]`.
    ///
    /// # Safety
    /// Weight rows `first + columns[..]` exist.
    unsafe fn rows(&self, columns: &[usize], first: usize, sums: &mut Sums) {
        let (k, m, dot) = (self.job.k as usize, self.job.m as usize, &self.kernels.dot);
        let kernels = if columns.len() == DOT_ROWS { &dot.wide } else { &dot.narrow };
        let kernel = kernels[self.layout as usize][m - 1];
        let mut products = [0f32; DOT_ROWS * DOT_INPUTS];
        let mut decoded: [Decoded; DOT_ROWS] = [[MaybeUninit::uninit(); SEGMENT / 32]; DOT_ROWS];
        let end = self.lag + k;
        for start in (0..end).step_by(SEGMENT) {
            let length = SEGMENT.min(end - start);
            let mut run = DotRun {
                codes: [std::ptr::null(); DOT_ROWS],
                scales: [std::ptr::null(); DOT_ROWS],
                shift: self.job.weight.block_size.shift().saturating_sub(7),
                input: self.input.wrapping_add(start),
                input_stride: self.input_stride,
                bytes: length.div_ceil(2),
                codebook: self.job.weight.codebook,
            };
            for (i, (column, decoded)) in columns.iter().zip(&mut decoded).enumerate() {
                let element = (first + column) * k - self.lag + start;
                run.codes[i] = self.job.weight.codes.wrapping_add(element / 2);
                // SAFETY: the elements of the run belong to the row.
                run.scales[i] = unsafe { self.scales(element, length, decoded) };
            }
            // SAFETY: the run lies inside the rows, the packed input is as long.
            unsafe { kernel(&run, products.as_mut_ptr()) };
        }
        for (column, products) in columns.iter().zip(products.chunks(m)) {
            for (input, product) in products.iter().enumerate() {
                sums[input * TASK_ROWS + column].write(*product);
            }
        }
    }

    /// The scales of the elements `first..first + count` in the kernel's layout: in place if they
    /// lie so, else in `decoded`.
    ///
    /// # Safety
    /// The elements exist.
    unsafe fn scales(&self, first: usize, count: usize, decoded: &mut Decoded) -> *const f32 {
        let weight = &self.job.weight;
        let shift = weight.block_size.shift();
        let block = first >> shift;
        let blocks = ((first + count - 1) >> shift) - block + 1;
        if let (Scales::Plain { absmax }, true) = (weight.scales, self.consecutive) {
            return absmax.wrapping_add(block);
        }
        // SAFETY: the blocks hold elements that exist; there are at most `SEGMENT / 32` of them,
        // since `first` is a multiple of 32.
        unsafe { (self.kernels.scales)(&weight.scales, block, blocks, decoded.as_mut_ptr().cast()) };
        if !self.consecutive {
            // Backwards, since the scale of a group stands at or before its place.
            for group in (0..count.div_ceil(32)).rev() {
                decoded[group] = decoded[((first + group * 32) >> shift) - block];
            }
        }
        decoded.as_ptr().cast()
    }
}

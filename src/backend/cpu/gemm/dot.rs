//! Few input rows: every weight row is read once, decoded in registers and multiplied with all of
//! them ([`super::weight_rows`]). Input rows are first widened to `f32` and put in the order in
//! which decoding yields weights.
//!
//! Codes are read from multiples of 32 elements of the flat stream, where blocks begin. A weight row
//! that begins up to 31 elements later meets an input row with as many zeros in front. Rows that lag
//! equally form a class; there are `32 / gcd(k, 32)` of them, one if 32 divides `k`.

use std::mem::MaybeUninit;

use super::super::runner::Runner;
use super::kernels::{DOT_INPUTS, DOT_ROWS, DotKernels, Kernels, MAX_CHUNK};
use super::row::{input_at, output_at};
use super::split::Split;
use super::weight_rows::{Decoded, Inputs, Product, SEGMENT_SCALES, Sums, TASK_ROWS};
use crate::backend::GemmJob;

/// The part of a thread's share that a small task is.
const SMALL_TASKS: usize = 32;

/// Largest number of input rows that this path takes. Decoding for every [`DOT_INPUTS`] of them is
/// quicker than panels are for so few.
pub(super) const MAX_INPUTS: usize = 16;
/// Bytes of codes per task if they are read more than once: these stay in the second-level cache.
const REREAD_BYTES: usize = 1 << 18;

/// Row classes of a weight with `k` columns.
fn classes(k: usize) -> usize {
    32 >> k.trailing_zeros().min(5)
}

/// Elements between the start of a row of that class and the multiple of 32 before.
fn lag(class: usize, k: usize) -> usize {
    class * (k % 32) % 32
}

/// Chunks of a packed input row.
fn chunks(k: usize, dot: &DotKernels) -> usize {
    (k + if k.is_multiple_of(32) { 0 } else { 31 }).div_ceil(dot.chunk)
}

/// Bytes of all packed input rows.
pub(super) fn input_bytes(job: &GemmJob, kernels: &Kernels) -> Option<usize> {
    let (k, dot) = (job.k as usize, &kernels.dot);
    let rows = (job.m as usize).checked_mul(classes(k))?;
    rows.checked_mul(k.checked_add(31 + dot.chunk)?)?.checked_mul(size_of::<f32>())
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
    let dot = &kernels.dot;
    let packed = packed.wrapping_add((class * m + row) * chunks(k, dot) * dot.chunk);
    let lag = lag(class, k);
    let mut natural = [0f32; MAX_CHUNK];
    for index in 0..chunks(k, dot) {
        let (chunk, start) = (dot.chunk, index * dot.chunk);
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
            (dot.pack)(natural.as_ptr(), packed.add(start));
        }
    }
}

/// Weight rows per task: three quarters in tasks that are as large as can be.
pub(super) fn split(job: &GemmJob, runner: &Runner) -> Split {
    let (n, threads) = (job.n as usize, runner.threads());
    let unit = DOT_ROWS * classes(job.k as usize);
    if job.m as usize > DOT_INPUTS {
        let rows = (REREAD_BYTES / (job.k as usize / 2).max(1)).min(n.div_ceil(threads * 4));
        return Split::even(rows.max(1).next_multiple_of(unit).min(TASK_ROWS));
    }
    let small = n.div_ceil(threads * SMALL_TASKS).max(1).next_multiple_of(unit).min(TASK_ROWS);
    let share = n / 4 * 3 / threads;
    let large = share / share.div_ceil(TASK_ROWS).max(1) / unit * unit;
    let large_count = if large > small { n / 4 * 3 / large } else { 0 };
    Split { large, large_count, small }
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
    let mut sums: Sums = [MaybeUninit::uninit(); DOT_INPUTS * TASK_ROWS];
    for row in (0..job.m as usize).step_by(DOT_INPUTS) {
        let rows = row..job.m.min((row + DOT_INPUTS) as u64) as usize;
        // SAFETY: passed on; the rows exist.
        unsafe {
            input_rows(job, kernels, packed, rows.clone(), first, count, &mut sums);
            for (row, sums) in rows.zip(sums.chunks(TASK_ROWS)) {
                (kernels.finish)(&output_at(job, row, first), sums.as_ptr().cast(), count);
            }
        }
    }
}

/// Computes output columns `first..first + count` of some input rows.
///
/// # Safety
/// As [`columns`]; the rows exist, at most [`DOT_INPUTS`].
unsafe fn input_rows(
    job: &GemmJob,
    kernels: &Kernels,
    packed: *const f32,
    inputs: std::ops::Range<usize>,
    first: usize,
    count: usize,
    sums: &mut Sums,
) {
    let (k, m, dot) = (job.k as usize, job.m as usize, &kernels.dot);
    let (classes, stride) = (classes(k), chunks(k, dot) * dot.chunk);
    let mut scales: Decoded = [[MaybeUninit::uninit(); SEGMENT_SCALES]; DOT_ROWS];
    for offset in 0..classes.min(count) {
        let class = (first + offset) % classes;
        let input = packed.wrapping_add((class * m + inputs.start) * stride);
        let input = Inputs { start: input, rows: inputs.len(), stride };
        let product = Product::new(job, kernels, dot, input, lag(class, k));
        let rows = (count - offset).div_ceil(classes);
        // Rows far apart make separate sequential streams, which the prefetchers follow.
        let apart = rows / DOT_ROWS;
        let column = |i: usize| offset + i * classes;
        let rest = apart * DOT_ROWS;
        // SAFETY: the columns lie inside the task.
        unsafe {
            let wide = |i, r| column(i + r * apart);
            match product.lookup() {
                Some(lookup) => lookup.rows(first, apart, wide, sums),
                None => product.rows::<DOT_ROWS>(first, apart, wide, &mut scales, sums),
            }
            product.rows::<1>(first, rows - rest, |i, _| column(rest + i), &mut scales, sums);
        }
    }
}

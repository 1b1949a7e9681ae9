//! Input, bias and output rows of any float type, and runs of scales. The compiler vectorizes these
//! loops; they take a small part of a product's time.

use crate::backend::Scales;
use crate::backend::cpu::gemm::row::OutputRow;
use crate::backend::cpu::portable::{load, store};
use crate::dtype::FloatType;

/// Elements that are converted at a time.
const RUN: usize = 64;

/// Widens `count` elements to `f32`, exactly.
///
/// # Safety
/// The pointers cover `count` elements.
pub(super) unsafe fn widen(source: *const u8, from: FloatType, count: usize, out: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe { load(source, from, std::slice::from_raw_parts_mut(out, count)) };
}

/// Finishes a run of sums; see [`OutputRow`].
///
/// # Safety
/// The row's pointers and `sums` cover `count` elements.
pub(super) unsafe fn finish(row: &OutputRow, sums: *const f32, count: usize) {
    for i in (0..count).step_by(RUN) {
        let (mut values, mut others) = ([0f32; RUN], [0f32; RUN]);
        let values = &mut values[..RUN.min(count - i)];
        let others = &mut others[..values.len()];
        let mut add = |values: &mut [f32], source: *const u8, from: FloatType| {
            // SAFETY: the caller's contract.
            unsafe { load(source, from, others) };
            values.iter_mut().zip(&*others).for_each(|(v, o)| *v += o);
        };
        let target = row.output.wrapping_add(i * row.output_type.size());
        // SAFETY: the caller's contract.
        unsafe { values.as_mut_ptr().copy_from_nonoverlapping(sums.add(i), values.len()) };
        if !row.bias.is_null() {
            add(values, row.bias.wrapping_add(i * row.bias_type.size()), row.bias_type);
        }
        if row.accumulate {
            add(values, target, row.output_type);
        }
        // SAFETY: the caller's contract.
        unsafe { store(values, target, row.output_type) };
    }
}

/// The scales of `count` blocks from block `first`.
///
/// # Safety
/// The pointers cover the blocks, `out` has room for them.
pub(super) unsafe fn scales(scales: &Scales, first: usize, count: usize, out: *mut f32) {
    for i in 0..count {
        // SAFETY: the caller's contract.
        unsafe { *out.add(i) = scales.get(first + i) };
    }
}

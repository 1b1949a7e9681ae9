use std::ffi::c_void;

use super::guard::{guard, not_null, write_out};
use super::handle::get;
use super::status::fourbit_status;
use super::tensor::fourbit_tensor;
use super::weight::fourbit_weight;

/// DLPack's versioned exchange struct, version 1.0.
#[repr(C)]
pub struct DLManagedTensorVersioned {
    version_major: u32,
    version_minor: u32,
    manager_ctx: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut DLManagedTensorVersioned)>,
    flags: u64,
    dl_tensor: fourbit_tensor,
}

const FLAG_READ_ONLY: u64 = 1;

/// One part of a weight (see fourbit_weight_part) as a read-only DLPack tensor without a copy. It
/// keeps the bytes alive on its own; give it up once through its `deleter`.
///
/// # Safety
/// `weight` is live; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_to_dlpack(
    weight: *const fourbit_weight,
    part: u32,
    out: *mut *mut DLManagedTensorVersioned,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        let weight = unsafe { get(weight)? };
        // A handle of its own: same bytes, and names and shapes that live as long as the tensor.
        let keeper = Box::new(fourbit_weight::new(weight.weight.clone()));
        let (_, view) = keeper.part_view(part as usize)?;
        let managed = Box::new(DLManagedTensorVersioned {
            version_major: 1,
            version_minor: 0,
            manager_ctx: Box::into_raw(keeper).cast(),
            deleter: Some(delete),
            flags: FLAG_READ_ONLY,
            dl_tensor: view,
        });
        // SAFETY: this function's contract.
        unsafe { write_out(out, Box::into_raw(managed), "out") }
    })
}

/// # Safety
/// `managed` is NULL or came from [`fourbit_weight_to_dlpack`], and is given up once.
unsafe extern "C" fn delete(managed: *mut DLManagedTensorVersioned) {
    if managed.is_null() {
        return;
    }
    // SAFETY: the caller's promise; both boxes were made there.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::from_raw(managed.manager_ctx.cast::<fourbit_weight>()));
    }
}

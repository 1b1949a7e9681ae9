//! A panic in any entry point is a status, and the process goes on.

use super::guard::PANIC_NEXT;
use super::*;

/// Up to eight words, which is more than any entry point takes.
type Words = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize, usize) -> i32;

macro_rules! entry_points {
    ($($name:ident)*) => {
        vec![$((stringify!($name), $name as *const ())),*]
    };
}

/// Every function that runs inside `guard`.
fn guarded() -> Vec<(&'static str, *const ())> {
    entry_points!(
        fourbit_checkpoint_config fourbit_checkpoint_find fourbit_checkpoint_get fourbit_checkpoint_len
        fourbit_checkpoint_open fourbit_checkpoint_tensor fourbit_checkpoint_weight fourbit_context_create
        fourbit_context_query fourbit_context_synchronize fourbit_dequantize fourbit_dequantize_checkpoint
        fourbit_device_count fourbit_device_query fourbit_gemm fourbit_grouped_gemm fourbit_memory_alloc
        fourbit_model_find fourbit_model_get fourbit_model_len fourbit_model_load fourbit_model_read
        fourbit_model_tensor fourbit_model_weight
        fourbit_plan_create fourbit_plan_find fourbit_plan_from_json fourbit_plan_get fourbit_plan_len
        fourbit_plan_summary fourbit_plan_to_json fourbit_quant_measure fourbit_quant_sizes
        fourbit_quantize fourbit_quantize_checkpoint fourbit_quantizer_create fourbit_quantizer_from_json
        fourbit_quantizer_query fourbit_quantizer_to_json fourbit_set_log fourbit_tensor_copy
        fourbit_weight_copy_to fourbit_weight_deserialize fourbit_weight_expert fourbit_weight_from_parts fourbit_weight_part
        fourbit_weight_part_count fourbit_weight_query fourbit_weight_serialize fourbit_weight_to_dlpack
        fourbit_writer_add_tensor fourbit_writer_add_weight fourbit_writer_create fourbit_writer_finish
        fourbit_writer_set_config fourbit_writer_set_metadata
    )
}

/// Functions that cannot fail: they return no status.
const UNGUARDED: [&str; 14] = [
    "fourbit_abi_version",
    "fourbit_build_info",
    "fourbit_checkpoint_destroy",
    "fourbit_context_destroy",
    "fourbit_cpu_features",
    "fourbit_last_error",
    "fourbit_memory_free",
    "fourbit_model_destroy",
    "fourbit_plan_destroy",
    "fourbit_quantizer_destroy",
    "fourbit_status_name",
    "fourbit_version",
    "fourbit_weight_destroy",
    "fourbit_writer_destroy",
];

// Miri objects, rightly, to calling a function with more arguments than it takes.
#[cfg_attr(miri, ignore)]
#[test]
fn a_panic_in_any_entry_point_is_a_status() {
    for (name, function) in guarded() {
        PANIC_NEXT.set(true);
        // SAFETY: the body panics before it looks at an argument; arguments are words in registers,
        // which a function that takes fewer leaves alone.
        let status = unsafe {
            let function: Words = std::mem::transmute(function);
            function(0, 0, 0, 0, 0, 0, 0, 0)
        };
        assert_eq!(status, fourbit_status::Panic as i32, "{name}");
        assert!(!PANIC_NEXT.get(), "{name} does not run inside the guard");
        // SAFETY: this thread's text.
        let words = unsafe { std::ffi::CStr::from_ptr(fourbit_last_error()) };
        assert!(words.to_str().unwrap().contains("injected"), "{name}: {words:?}");
    }
    // The process is as usable as before.
    let mut context = std::ptr::null_mut();
    // SAFETY: every default, and a place for the handle, which is then given up.
    unsafe {
        assert_eq!(fourbit_context_create(std::ptr::null(), &mut context), fourbit_status::Ok);
        fourbit_context_destroy(context);
    }
}

#[test]
fn every_exported_function_is_guarded_or_cannot_fail() {
    let exported: Vec<&str> = include_str!("../../tests/abi/symbols.txt").split_whitespace().collect();
    let mut known: Vec<&str> = guarded().iter().map(|(name, _)| *name).chain(UNGUARDED).collect();
    known.sort_unstable();
    assert_eq!(exported, known, "a new function belongs to one of the two lists here");
}

use std::ffi::c_void;

use super::device::{fourbit_device, isa_cap};
use super::guard::{guard, not_null, write_out};
use super::handle::{self, Handle, get};
use super::sized::{Growing, read};
use super::status::fourbit_status;
use crate::backend::cpu::{CpuConfig, ParallelFor, ParallelForFn};
use crate::context::Context;
use crate::device::DeviceKind;
use crate::error::err;

/// One device and the threads that serve it. Any number of threads may use one context at once.
pub struct fourbit_context(pub(super) Context);

impl Handle for fourbit_context {
    const NAME: &'static str = "fourbit_context";
}

/// Runs `count` tasks: calls `task(task_data, index)` once for every index below `count`, on any
/// threads and in any order, and returns when all have returned.
pub type fourbit_parallel_for_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        count: usize,
        task: unsafe extern "C" fn(task_data: *mut c_void, index: usize),
        task_data: *mut c_void,
    ),
>;

/// How a context is made. All zero: the CPU, one thread per processor, own threads.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_context_config {
    /// sizeof(fourbit_context_config).
    pub struct_size: u32,
    /// Threads that work on a call, the caller's included. 0: one per processor the process may
    /// use. 1: no threads are started.
    pub num_threads: u32,
    /// The device. All zero: the CPU.
    pub device: fourbit_device,
    /// The best instruction set to use (a fourbit_cpu_isa); 0: what the machine has, up to
    /// FOURBIT_CPU_ISA_MAX in the environment.
    pub cpu_isa_max: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Runs the library's tasks on the caller's threads instead of its own; NULL: own threads.
    /// Results have the same bits either way.
    pub parallel_for: fourbit_parallel_for_fn,
    /// First argument of `parallel_for`.
    pub parallel_for_user: *mut c_void,
    /// A CUstream; for CUDA contexts only.
    pub cuda_stream: *mut c_void,
}

// SAFETY: plain data without padding, valid when zero, `struct_size` first.
unsafe impl Growing for fourbit_context_config {
    const NAME: &'static str = "fourbit_context_config";
}

/// Makes a context. `config` may be NULL.
///
/// # Safety
/// `config` is NULL or readable for the bytes it states; `out` is NULL or writable; a callback and
/// its argument stay valid, and callable from any thread, until everything made from the context
/// is destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_context_create(
    config: *const fourbit_context_config,
    out: *mut *mut fourbit_context,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        let config = unsafe { read(config)? };
        if config.reserved != 0 {
            return Err(err!(Unsupported, "fourbit_context_config.reserved must be zero"));
        }
        let device = config.device.checked("fourbit_context_config")?;
        if device.kind != DeviceKind::Cpu {
            return Err(err!(DeviceUnavailable, "{device}: this build has no CUDA backend; use the CPU"));
        }
        if !config.cuda_stream.is_null() {
            return Err(err!(InvalidArgument, "cuda_stream is set, but the device is the CPU"));
        }
        // SAFETY: the caller vouches for the callback; `ParallelForFn` is its type.
        let parallel_for = config
            .parallel_for
            .map(|call| unsafe { ParallelFor::new(call as ParallelForFn, config.parallel_for_user) });
        let context = Context::cpu(CpuConfig {
            threads: config.num_threads as usize,
            isa_max: isa_cap(config.cpu_isa_max)?,
            parallel_for,
        })?;
        // SAFETY: this function's contract.
        unsafe { handle::give(out, fourbit_context(context)) }
    })
}

/// The device and the number of threads. Either output may be NULL.
///
/// # Safety
/// `context` is live; outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_context_query(
    context: *const fourbit_context,
    out_device: *mut fourbit_device,
    out_threads: *mut u32,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let context = &get(context)?.0;
            if !out_device.is_null() {
                write_out(out_device, context.device().into(), "out_device")?;
            }
            if !out_threads.is_null() {
                write_out(out_threads, context.threads() as u32, "out_threads")?;
            }
        }
        Ok(())
    })
}

/// Waits until everything enqueued on the context is done. On the CPU every call is done when it
/// returns.
///
/// # Safety
/// `context` is live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_context_synchronize(context: *const fourbit_context) -> fourbit_status {
    // SAFETY: this function's contract.
    guard(|| unsafe { get(context).map(|_| ()) })
}

/// Gives a context up; NULL is allowed. Objects made from it stay valid.
///
/// # Safety
/// No other call uses this handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_context_destroy(context: *mut fourbit_context) {
    // SAFETY: this function's contract.
    unsafe { handle::destroy(context) };
}

/// Allocates memory of the context's device, aligned to FOURBIT_ALIGNMENT, contents undefined.
/// Size 0 gives a pointer that may only be freed.
///
/// # Safety
/// `context` is live; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_memory_alloc(
    context: *const fourbit_context,
    size: usize,
    out: *mut *mut c_void,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe { get(context)? };
        let mut memory = std::ptr::null_mut();
        // SAFETY: the alignment is a power of two and a multiple of a pointer's size.
        let code =
            unsafe { libc::posix_memalign(&mut memory, super::tensor::FOURBIT_ALIGNMENT, size.max(1)) };
        if code != 0 {
            return Err(err!(OutOfMemory, "cannot allocate {size} bytes"));
        }
        // SAFETY: this function's contract.
        unsafe { write_out(out, memory, "out") }
    })
}

/// Frees what fourbit_memory_alloc gave; NULL is allowed.
///
/// # Safety
/// `memory` is NULL or came from fourbit_memory_alloc on a context of the same device, and is freed
/// once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_memory_free(_context: *const fourbit_context, memory: *mut c_void) {
    // SAFETY: this function's contract; posix_memalign pairs with free.
    unsafe { libc::free(memory) };
}

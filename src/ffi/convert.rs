use std::ffi::{CString, c_char, c_void};
use std::ops::ControlFlow;
use std::path::Path;

use super::checkpoint::fourbit_checkpoint;
use super::context::fourbit_context;
use super::guard::{c_str, guard};
use super::handle::get;
use super::plan::fourbit_plan;
use super::quantizer::fourbit_quantizer;
use super::sized::{Growing, flag, read};
use super::status::fourbit_status;
use super::tensor::fourbit_dtype;
use crate::checkpoint::{self, Checkpoint, Phase, Progress, SaveOptions, quantized_config};
use crate::error::Result;
use crate::plan::{Plan, PlanOptions};

/// What a long operation is doing.
#[repr(u32)]
pub enum fourbit_phase {
    /// Reading weights for their absmax values, on which the layout of a double-quantized
    /// checkpoint depends.
    Scan = 0,
    /// Converting and writing.
    Write = 1,
    /// Quantizing and casting into memory.
    Load = 2,
}

/// Where a long operation is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_progress {
    /// sizeof(fourbit_progress) of the library: fields up to it may be read.
    pub struct_size: u32,
    /// A fourbit_phase.
    pub phase: u32,
    /// The tensor at work; valid during the call only.
    pub tensor: *const c_char,
    /// Bytes of the source dealt with, over all phases.
    pub bytes_done: u64,
    /// Bytes of the source to deal with, over all phases.
    pub bytes_total: u64,
}

/// Called now and then on the thread that made the call; nonzero cancels, after which nothing of the
/// output remains. Must not throw or unwind.
pub type fourbit_progress_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, progress: *const fourbit_progress) -> i32>;

/// How to write a checkpoint. All zero: files of up to 5 GB, nothing is replaced, side files are
/// copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_save_config {
    /// sizeof(fourbit_save_config).
    pub struct_size: u32,
    /// 1: replace a checkpoint that stands in the output directory, once the new one is complete.
    pub force: u32,
    /// Bytes of tensor data per file; 0: 5 GB. A larger weight gets a file of its own.
    pub max_shard_size: u64,
    /// 1: do not copy tokenizer and other files that lie beside the source's weights.
    pub no_side_files: u32,
    /// Must be zero.
    pub reserved: u32,
}

// SAFETY: plain data without padding, valid when zero, `struct_size` first.
unsafe impl Growing for fourbit_save_config {
    const NAME: &'static str = "fourbit_save_config";
}

impl fourbit_save_config {
    pub(super) fn options(&self) -> Result<SaveOptions> {
        let mut options = SaveOptions {
            force: flag(self.force, "force")?,
            copy_side_files: !flag(self.no_side_files, "no_side_files")?,
            ..SaveOptions::default()
        };
        flag(self.reserved, "reserved")?;
        if self.max_shard_size != 0 {
            options.max_shard_size = self.max_shard_size;
        }
        Ok(options)
    }
}

/// The caller's callback as the library's.
pub(super) struct Reporter {
    function: fourbit_progress_fn,
    user: *mut c_void,
    /// The last tensor's name in C's form: it changes rarely.
    tensor: CString,
}

impl Reporter {
    pub(super) fn new(function: fourbit_progress_fn, user: *mut c_void) -> Self {
        Reporter { function, user, tensor: CString::default() }
    }

    pub(super) fn report(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        let Some(function) = self.function else { return ControlFlow::Continue(()) };
        if self.tensor.as_bytes() != progress.tensor.as_bytes() {
            self.tensor = CString::new(progress.tensor).unwrap_or_default();
        }
        let phase = match progress.phase {
            Phase::Scan => fourbit_phase::Scan,
            Phase::Write => fourbit_phase::Write,
            Phase::Load => fourbit_phase::Load,
        };
        let report = fourbit_progress {
            struct_size: size_of::<fourbit_progress>() as u32,
            phase: phase as u32,
            tensor: self.tensor.as_ptr(),
            bytes_done: progress.done,
            bytes_total: progress.total,
        };
        // SAFETY: the caller vouches for the callback during the operation.
        match unsafe { function(self.user, &report) } {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

/// What a NULL plan stands for.
pub(super) fn automatic_plan(quantizer: &fourbit_quantizer, checkpoint: &Checkpoint) -> Result<Plan> {
    checkpoint.plan(&PlanOptions {
        skip: quantizer.config.skip_modules.clone(),
        spec: quantizer.spec,
        ..PlanOptions::default()
    })
}

/// Quantizes a whole checkpoint into a directory, as `plan` says (NULL: the automatic plan), with
/// config.json and the files beside the weights. Weights are streamed: memory does not grow with the
/// checkpoint. Files appear under their final names when all is written; on failure nothing remains.
/// `config` and `progress` may be NULL. A nonzero answer from `progress` gives CANCELLED.
///
/// # Safety
/// Handles are live; `out_dir` is a NUL-terminated string; `config` is NULL or readable for the
/// bytes it states; `progress` may be called with `user` until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quantize_checkpoint(
    quantizer: *const fourbit_quantizer,
    checkpoint: *const fourbit_checkpoint,
    plan: *const fourbit_plan,
    out_dir: *const c_char,
    config: *const fourbit_save_config,
    progress: fourbit_progress_fn,
    user: *mut c_void,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let (quantizer, checkpoint, out_dir, config) = unsafe {
            (get(quantizer)?, &get(checkpoint)?.checkpoint, c_str(out_dir, "out_dir")?, read(config)?)
        };
        let automatic;
        let plan = if plan.is_null() {
            automatic = automatic_plan(quantizer, checkpoint)?;
            &automatic
        } else {
            // SAFETY: this function's contract.
            unsafe { &get(plan)?.plan }
        };
        let options = SaveOptions {
            config: quantized_config(checkpoint, plan, &quantizer.config)?,
            ..config.options()?
        };
        let mut reporter = Reporter::new(progress, user);
        checkpoint::quantize_checkpoint(
            &quantizer.context,
            &quantizer.spec,
            checkpoint,
            plan,
            Path::new(out_dir),
            &options,
            &mut |p| reporter.report(p),
        )
        .map(|_| ())
    })
}

/// Turns a quantized checkpoint back into plain floats: every weight in `dtype` (all zero: its own
/// original type), names, shapes and config.json as before quantization. Otherwise as
/// fourbit_quantize_checkpoint.
///
/// # Safety
/// As for fourbit_quantize_checkpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_dequantize_checkpoint(
    context: *const fourbit_context,
    checkpoint: *const fourbit_checkpoint,
    dtype: fourbit_dtype,
    out_dir: *const c_char,
    config: *const fourbit_save_config,
    progress: fourbit_progress_fn,
    user: *mut c_void,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let (context, checkpoint, out_dir, config) = unsafe {
            (&get(context)?.0, &get(checkpoint)?.checkpoint, c_str(out_dir, "out_dir")?, read(config)?)
        };
        let mut reporter = Reporter::new(progress, user);
        checkpoint::dequantize_model(
            context,
            checkpoint,
            dtype.float_or(None, "dtype")?,
            Path::new(out_dir),
            &config.options()?,
            &mut |p| reporter.report(p),
        )
        .map(|_| ())
    })
}

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_void};

use super::checkpoint::{fourbit_checkpoint, fourbit_checkpoint_entry_kind};
use super::convert::{Reporter, automatic_plan, fourbit_progress_fn};
use super::device::fourbit_device;
use super::guard::{c_str, guard, not_null, write_out};
use super::handle::{self, Handle, get};
use super::plan::fourbit_plan;
use super::quantizer::fourbit_quantizer;
use super::sized::{Growing, read, write};
use super::status::fourbit_status;
use super::tensor::{FOURBIT_MAX_RANK, fourbit_dtype, fourbit_tensor, read_tensor_mut};
use super::weight::{dims_of, fourbit_weight};
use crate::checkpoint::{Entry, LoadOptions, Model};
use crate::device::Device;
use crate::device_map::MapDevice;
use crate::error::{Result, err};

/// A checkpoint in memory, every tensor as its plan says. Any number of threads may use one.
pub struct fourbit_model {
    model: Model,
    /// Names and shapes in C's form: borrowed views point here.
    text: Vec<(CString, [i64; FOURBIT_MAX_RANK])>,
    /// Names of the devices.
    devices: BTreeMap<MapDevice, CString>,
}

impl Handle for fourbit_model {
    const NAME: &'static str = "fourbit_model";
}

impl fourbit_model {
    fn new(model: Model) -> Result<Self> {
        let c = |s: &str| CString::new(s).map_err(|_| err!(Format, "{s:?} has a NUL"));
        let text = model.entries().iter().map(|e| Ok((c(&e.name)?, dims_of(&e.shape))));
        let text = text.collect::<Result<_>>()?;
        let devices = model.entries().iter().filter_map(|e| e.device);
        let devices = devices.map(|d| Ok((d, c(&d.to_string())?))).collect::<Result<_>>()?;
        Ok(fourbit_model { model, text, devices })
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.model.find(name).ok_or_else(|| err!(NotFound, "no tensor named \"{name}\""))
    }
}

/// How to load a model. All zero: no limit.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_load_config {
    /// sizeof(fourbit_load_config).
    pub struct_size: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Bytes that weights and casts may take; what is mapped does not count, nor do a few megabytes of
    /// work per thread. A plan that needs more is refused before anything is read. 0: no limit.
    pub max_memory: u64,
}

// SAFETY: plain data without padding, valid when zero, `struct_size` first.
unsafe impl Growing for fourbit_load_config {
    const NAME: &'static str = "fourbit_load_config";
}

/// One entry of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_model_entry {
    /// sizeof(fourbit_model_entry), set by the caller.
    pub struct_size: u32,
    /// A fourbit_checkpoint_entry_kind: what to ask for it with.
    pub kind: u32,
    /// The tensor's name; borrowed from the model.
    pub name: *const c_char,
    /// The element type; of a weight, that of what it was quantized from.
    pub dtype: fourbit_dtype,
    /// Number of dimensions.
    pub ndim: i32,
    /// The shape; of a weight, that of what it was quantized from, [out, in] for a linear layer. `ndim`
    /// values, then zeros.
    pub shape: [i64; FOURBIT_MAX_RANK],
    /// Bytes of the tensor, or of the weight's codes and statistics (the text of its quant state not
    /// counted). What is on the disk takes none of memory.
    pub byte_size: u64,
    /// Where the plan puts it: "cpu" or "disk"; NULL without a device map. Borrowed from the model.
    pub device: *const c_char,
}

// SAFETY: plain data without padding, `struct_size` first.
unsafe impl Growing for fourbit_model_entry {
    const NAME: &'static str = "fourbit_model_entry";
}

/// Loads a checkpoint as `plan` says: weights are quantized with the quantizer, tensors cast to their
/// planned types, all at once and in parallel. What is stored as it is wanted, be it a tensor or a
/// weight that was quantized before, stays mapped: nothing is copied. `plan` may be NULL: of a
/// checkpoint that is quantized already everything is then taken as it is stored, of any other the
/// automatic plan is followed. `config` and `progress` may be NULL; a nonzero answer from `progress`
/// gives CANCELLED.
///
/// Entries planned on the CPU, or without a device map, are in memory or mapped when this returns.
/// Entries planned on the disk are made when they are asked for, and not kept. Any other device gives
/// DEVICE_UNAVAILABLE before anything is read. A plan that needs more than `max_memory` gives
/// OUT_OF_MEMORY, likewise.
///
/// The model keeps the quantizer's context and the files: quantizer, checkpoint and plan may be
/// destroyed. The files must not change while the model, or a weight from it, is in use.
///
/// # Safety
/// Handles are live; `config` is NULL or readable for the bytes it states; `progress` may be called
/// with `user` until this returns; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_model_load(
    quantizer: *const fourbit_quantizer,
    checkpoint: *const fourbit_checkpoint,
    plan: *const fourbit_plan,
    config: *const fourbit_load_config,
    progress: fourbit_progress_fn,
    user: *mut c_void,
    out: *mut *mut fourbit_model,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        let (quantizer, checkpoint, config) =
            unsafe { (get(quantizer)?, &get(checkpoint)?.checkpoint, read(config)?) };
        if config.reserved != 0 {
            return Err(err!(
                InvalidArgument,
                "fourbit_load_config.reserved is {}, expected 0",
                config.reserved
            ));
        }
        let options = LoadOptions { max_memory: (config.max_memory != 0).then_some(config.max_memory) };
        let made;
        let plan = if !plan.is_null() {
            // SAFETY: this function's contract.
            unsafe { &get(plan)?.plan }
        } else {
            let is_quantized = checkpoint.entries().iter().any(|e| matches!(e, Entry::Weight(_)));
            made = match is_quantized {
                true => checkpoint.plan_as_stored()?,
                false => automatic_plan(quantizer, checkpoint)?,
            };
            &made
        };
        let mut reporter = Reporter::new(progress, user);
        let (context, spec) = (&quantizer.context, &quantizer.spec);
        let model = Model::load(context, spec, checkpoint, plan, &options, &mut |p| reporter.report(p))?;
        // SAFETY: this function's contract.
        unsafe { handle::give(out, fourbit_model::new(model)?) }
    })
}

/// The number of entries. A weight and its statistics are one.
///
/// # Safety
/// `model` is live; `out_count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_model_len(
    model: *const fourbit_model,
    out_count: *mut usize,
) -> fourbit_status {
    // SAFETY: this function's contract.
    guard(|| unsafe { write_out(out_count, get(model)?.text.len(), "out_count") })
}

/// Describes entry `index`. Entries come in natural order of their names.
///
/// # Safety
/// `model` is live; `out_entry` is NULL or writable for the bytes its `struct_size` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_model_get(
    model: *const fourbit_model,
    index: usize,
    out_entry: *mut fourbit_model_entry,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let handle = unsafe { get(model)? };
        let (Some(entry), Some((name, dims))) = (handle.model.entries().get(index), handle.text.get(index))
        else {
            return Err(err!(NotFound, "entry {index}: the model has {}", handle.text.len()));
        };
        let kind = match entry.is_weight() {
            true => fourbit_checkpoint_entry_kind::Weight,
            false => fourbit_checkpoint_entry_kind::Tensor,
        };
        let device = entry.device.and_then(|device| handle.devices.get(&device));
        let description = fourbit_model_entry {
            struct_size: 0,
            kind: kind as u32,
            name: name.as_ptr(),
            dtype: entry.dtype.into(),
            ndim: entry.shape.dims().len() as i32,
            shape: *dims,
            byte_size: entry.byte_size,
            device: device.map_or(std::ptr::null(), |device| device.as_ptr()),
        };
        // SAFETY: this function's contract.
        unsafe { write(out_entry, description) }
    })
}

/// The index of the entry of that name. NOT_FOUND if there is none.
///
/// # Safety
/// `model` is live; `name` is a NUL-terminated string; `out_index` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_model_find(
    model: *const fourbit_model,
    name: *const c_char,
    out_index: *mut usize,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe { write_out(out_index, get(model)?.find(c_str(name, "name")?)?, "out_index") }
    })
}

/// A weight of the model. It shares the model's bytes, is the caller's to destroy, and may outlive
/// the model. One that is planned on the disk is quantized by this call, and is all the caller's. A
/// plain tensor gives INVALID_ARGUMENT.
///
/// # Safety
/// `model` is live; `name` is a NUL-terminated string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_model_weight(
    model: *const fourbit_model,
    name: *const c_char,
    out: *mut *mut fourbit_weight,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let weight = get(model)?.model.weight(c_str(name, "name")?)?;
            handle::give(out, fourbit_weight::new(weight))
        }
    })
}

/// A view of a tensor in its planned type, read-only; valid until the model is destroyed. A tensor
/// that is planned on the disk in another type than the stored one gives INVALID_STATE, since nothing
/// is kept of it: fourbit_model_read. A weight gives INVALID_ARGUMENT.
///
/// # Safety
/// `model` is live; `name` is a NUL-terminated string; `out_view` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_model_tensor(
    model: *const fourbit_model,
    name: *const c_char,
    out_view: *mut fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let (handle, name) = unsafe { (get(model)?, c_str(name, "name")?) };
        let tensor = handle.model.tensor(name)?;
        let (_, dims) = &handle.text[handle.find(name)?];
        let view = fourbit_tensor {
            data: tensor.raw().data.cast(),
            device: fourbit_device::from(Device::CPU),
            ndim: tensor.shape().dims().len() as i32,
            dtype: tensor.raw().dtype.into(),
            shape: dims.as_ptr(),
            strides: std::ptr::null(),
            byte_offset: 0,
        };
        // SAFETY: this function's contract.
        unsafe { write_out(out_view, view, "out_view") }
    })
}

/// Copies a tensor, in its planned type, into `destination`: of that type and shape, with any strides.
/// What is planned on the disk is read, and cast, by this call.
///
/// # Safety
/// `model` is live; `name` is a NUL-terminated string; `destination` describes writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_model_read(
    model: *const fourbit_model,
    name: *const c_char,
    destination: *const fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (handle, name) = (get(model)?, c_str(name, "name")?);
            handle.model.read(name, &mut read_tensor_mut(destination, "destination")?)
        }
    })
}

/// Gives a model up; NULL is allowed. Views and names borrowed from it become invalid, weights from
/// it stay valid.
///
/// # Safety
/// No other call uses this handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_model_destroy(model: *mut fourbit_model) {
    // SAFETY: this function's contract.
    unsafe { handle::destroy(model) };
}

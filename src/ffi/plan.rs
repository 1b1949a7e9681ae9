use std::collections::BTreeMap;
use std::ffi::{CString, c_char};

use super::checkpoint::fourbit_checkpoint;
use super::guard::{byte_slice, c_str, guard, not_null, write_out};
use super::handle::{self, Handle, get};
use super::quantizer::{fourbit_quantizer, read_names};
use super::sized::{Growing, flag, read, write};
use super::status::fourbit_status;
use super::tensor::{FOURBIT_MAX_RANK, fourbit_dtype};
use super::text::put_text;
use super::weight::dims_of;
use crate::device_map::{DeviceMapOptions, MapDevice, MaxMemory, Sizing, Strategy};
use crate::dtype::DType;
use crate::error::{Result, err};
use crate::plan::{Action, Experts, Plan, PlanOptions, Profile};

/// What happens to every tensor of a checkpoint, and why. Any number of threads may use one.
pub struct fourbit_plan {
    pub(super) plan: Plan,
    /// Names and reasons in C's form: borrowed text points here.
    text: Vec<(CString, CString)>,
    /// Names of the devices.
    devices: BTreeMap<MapDevice, CString>,
}

impl Handle for fourbit_plan {
    const NAME: &'static str = "fourbit_plan";
}

impl fourbit_plan {
    fn new(plan: Plan) -> Result<Self> {
        let c = |s: &str| CString::new(s).map_err(|_| err!(Format, "{s:?} has a NUL"));
        let text =
            plan.entries.iter().map(|e| Ok((c(&e.source.name)?, c(&e.reason)?))).collect::<Result<_>>()?;
        let devices = plan.entries.iter().filter_map(|e| e.device);
        let devices = devices.map(|d| Ok((d, c(&d.to_string())?))).collect::<Result<_>>()?;
        Ok(fourbit_plan { plan, text, devices })
    }
}

/// Whose rules decide which modules are converted.
#[repr(u32)]
pub enum fourbit_plan_profile {
    /// Only what transformers 4.57 and 5.23 both convert, with an explicit skip list: the result
    /// loads everywhere.
    Portable = 0,
    /// transformers 4.57.
    V4 = 1,
    /// transformers 5.23.
    V5 = 2,
    /// transformers 4.41.
    V441 = 3,
}

/// What becomes of the experts of a mixture.
#[repr(u32)]
pub enum fourbit_plan_experts {
    /// As the profile's version does.
    Auto = 0,
    /// Keep them in 16 bits.
    SixteenBit = 1,
    /// Convert them: transformers 4, vLLM and SGLang read the result, transformers 5 does not.
    FourBit = 2,
    /// The same, and fused experts as one weight of three dimensions each: only this library reads the
    /// result (fourbit_weight_expert).
    FusedFourBit = 3,
}

/// What happens to a tensor.
#[repr(u32)]
pub enum fourbit_plan_action {
    /// It is stored as `dtype`.
    Keep = 0,
    /// It is cast to `dtype` and quantized.
    Quantize = 1,
    /// It is cast to `dtype`, transposed (GPT-2's Conv1D stores [in, out]) and quantized.
    QuantizeTransposed = 2,
}

/// How to plan. All zero: portable, everything automatic.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_plan_config {
    /// sizeof(fourbit_plan_config).
    pub struct_size: u32,
    /// A fourbit_plan_profile.
    pub profile: u32,
    /// The type float tensors are cast to first; all zero: what config.json says.
    pub dtype: fourbit_dtype,
    /// A fourbit_plan_experts.
    pub experts: u32,
    /// Modules to keep, or NULL: the quantizer's skip_modules. See docs/c-api.md for matching.
    pub skip_modules: *const *const c_char,
    /// The number of names.
    pub skip_module_count: usize,
    /// Where everything goes, or NULL: not decided. "auto", "balanced_low_0", "sequential", "fit", a
    /// device ("0", "cpu"), or a map as JSON, such as {"model": 0, "lm_head": "cpu"}.
    pub device_map: *const c_char,
    /// Memory of each device, such as "0=20GiB,cpu=64GiB", or NULL: what is free on this machine.
    pub max_memory: *const c_char,
    /// 1: modules may go to the CPU or the disk (llm_int8_enable_fp32_cpu_offload).
    pub offload: u32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: plain data without padding, valid when zero, `struct_size` first.
unsafe impl Growing for fourbit_plan_config {
    const NAME: &'static str = "fourbit_plan_config";
}

/// One tensor's fate.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_plan_entry {
    /// sizeof(fourbit_plan_entry), set by the caller.
    pub struct_size: u32,
    /// A fourbit_plan_action.
    pub action: u32,
    /// The tensor's name; borrowed from the plan.
    pub name: *const c_char,
    /// Why, in words; borrowed from the plan.
    pub reason: *const c_char,
    /// The stored element type.
    pub source_dtype: fourbit_dtype,
    /// The element type to store, or from which the weight is quantized.
    pub dtype: fourbit_dtype,
    /// Number of dimensions.
    pub ndim: i32,
    /// Zero.
    pub reserved: u32,
    /// The stored shape; `ndim` values, then zeros.
    pub shape: [i64; FOURBIT_MAX_RANK],
    /// Bytes in the source.
    pub bytes_before: u64,
    /// Bytes in the output, statistics included.
    pub bytes_after: u64,
    /// Where it goes: the number of a GPU, "mps", "cpu" or "disk"; NULL without a device map. Borrowed
    /// from the plan.
    pub device: *const c_char,
}

// SAFETY: plain data without padding, `struct_size` first.
unsafe impl Growing for fourbit_plan_entry {
    const NAME: &'static str = "fourbit_plan_entry";
}

/// Sums over a plan.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_plan_totals {
    /// sizeof(fourbit_plan_totals), set by the caller.
    pub struct_size: u32,
    /// The fourbit_plan_profile followed.
    pub profile: u32,
    /// Tensors that become 4-bit.
    pub converted: u64,
    /// Tensors that stay.
    pub kept: u64,
    /// Bytes in the source.
    pub bytes_before: u64,
    /// Bytes in the output, file headers not counted.
    pub bytes_after: u64,
}

// SAFETY: plain data without padding, `struct_size` first.
unsafe impl Growing for fourbit_plan_totals {
    const NAME: &'static str = "fourbit_plan_totals";
}

const PROFILES: [Profile; 4] = [Profile::Portable, Profile::V4, Profile::V5, Profile::V441];

fn options_of(config: &fourbit_plan_config, quantizer: &fourbit_quantizer) -> Result<PlanOptions> {
    let profile = PROFILES.get(config.profile as usize).copied().ok_or_else(|| {
        err!(InvalidArgument, "profile is {}, expected a fourbit_plan_profile (0 to 3)", config.profile)
    })?;
    let experts = match config.experts {
        0 => Experts::Auto,
        1 => Experts::SixteenBit,
        2 => Experts::FourBit,
        3 => Experts::FusedFourBit,
        n => return Err(err!(InvalidArgument, "experts is {n}, expected a fourbit_plan_experts (0 to 3)")),
    };
    // SAFETY: the caller of fourbit_plan_create vouches for the names.
    let skip = unsafe { read_names(config.skip_modules, config.skip_module_count, "skip_modules")? };
    Ok(PlanOptions {
        profile,
        skip: skip.or_else(|| quantizer.config.skip_modules.clone()),
        dtype: config.dtype.float_or(None, "dtype")?,
        experts,
        spec: quantizer.spec,
        device_map: device_map_of(config)?,
        ..PlanOptions::default()
    })
}

fn device_map_of(config: &fourbit_plan_config) -> Result<Option<DeviceMapOptions>> {
    let offload = flag(config.offload, "offload")?;
    if config.device_map.is_null() {
        return match config.max_memory.is_null() && !offload {
            true => Ok(None),
            false => Err(err!(InvalidArgument, "max_memory and offload are of no use without a device_map")),
        };
    }
    // SAFETY: the caller of fourbit_plan_create vouches for the text.
    let strategy = Strategy::parse(unsafe { c_str(config.device_map, "device_map")? })?;
    let max_memory = match config.max_memory.is_null() {
        true => None,
        // SAFETY: likewise.
        false => Some(MaxMemory::parse(unsafe { c_str(config.max_memory, "max_memory")? })?),
    };
    Ok(Some(DeviceMapOptions { strategy, max_memory, sizing: Sizing::Honest, offload }))
}

/// Decides what happens to every tensor of a checkpoint. It needs a config.json beside the files.
/// `config` may be NULL.
///
/// # Safety
/// Handles are live; `config` is NULL or readable for the bytes it states, its names and texts are valid;
/// `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_plan_create(
    quantizer: *const fourbit_quantizer,
    checkpoint: *const fourbit_checkpoint,
    config: *const fourbit_plan_config,
    out: *mut *mut fourbit_plan,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let (quantizer, checkpoint) = (get(quantizer)?, get(checkpoint)?);
            let options = options_of(&read(config)?, quantizer)?;
            let plan = checkpoint.checkpoint.plan(&options)?;
            handle::give(out, fourbit_plan::new(plan)?)
        }
    })
}

/// The number of tensors.
///
/// # Safety
/// `plan` is live; `out_count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_plan_len(
    plan: *const fourbit_plan,
    out_count: *mut usize,
) -> fourbit_status {
    // SAFETY: this function's contract.
    guard(|| unsafe { write_out(out_count, get(plan)?.text.len(), "out_count") })
}

/// Describes tensor `index`.
///
/// # Safety
/// `plan` is live; `out_entry` is NULL or writable for the bytes its `struct_size` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_plan_get(
    plan: *const fourbit_plan,
    index: usize,
    out_entry: *mut fourbit_plan_entry,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let handle = unsafe { get(plan)? };
        let (Some(entry), Some((name, reason))) = (handle.plan.entries.get(index), handle.text.get(index))
        else {
            return Err(err!(NotFound, "entry {index}: the plan has {}", handle.text.len()));
        };
        let (action, dtype) = match entry.action {
            Action::Keep { dtype } => (fourbit_plan_action::Keep, dtype),
            Action::Quantize { dtype, transpose: false } => (fourbit_plan_action::Quantize, dtype.into()),
            Action::Quantize { dtype, .. } => (fourbit_plan_action::QuantizeTransposed, DType::from(dtype)),
        };
        let device = entry.device.and_then(|device| handle.devices.get(&device));
        let description = fourbit_plan_entry {
            struct_size: 0,
            action: action as u32,
            name: name.as_ptr(),
            reason: reason.as_ptr(),
            source_dtype: entry.source.dtype.into(),
            dtype: dtype.into(),
            ndim: entry.source.shape.dims().len() as i32,
            reserved: 0,
            shape: dims_of(&entry.source.shape),
            bytes_before: entry.bytes_before,
            bytes_after: entry.bytes_after,
            device: device.map_or(std::ptr::null(), |device| device.as_ptr()),
        };
        // SAFETY: this function's contract.
        unsafe { write(out_entry, description) }
    })
}

/// The index of the tensor of that name. NOT_FOUND if there is none.
///
/// # Safety
/// `plan` is live; `name` is a NUL-terminated string; `out_index` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_plan_find(
    plan: *const fourbit_plan,
    name: *const c_char,
    out_index: *mut usize,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (handle, name) = (get(plan)?, c_str(name, "name")?);
            let index = handle.plan.entries.iter().position(|e| e.source.name == name);
            let index = index.ok_or_else(|| err!(NotFound, "no tensor named \"{name}\" in the plan"))?;
            write_out(out_index, index, "out_index")
        }
    })
}

/// The sums over all tensors.
///
/// # Safety
/// `plan` is live; `out_totals` is NULL or writable for the bytes its `struct_size` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_plan_summary(
    plan: *const fourbit_plan,
    out_totals: *mut fourbit_plan_totals,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let plan = unsafe { &get(plan)?.plan };
        let totals = plan.totals();
        let profile = PROFILES.iter().position(|p| *p == plan.profile).unwrap_or(0) as u32;
        let description = fourbit_plan_totals {
            struct_size: 0,
            profile,
            converted: totals.converted,
            kept: totals.kept,
            bytes_before: totals.bytes_before,
            bytes_after: totals.bytes_after,
        };
        // SAFETY: this function's contract.
        unsafe { write(out_totals, description) }
    })
}

/// Writes a plan as JSON and a NUL. `*out_len` gets the length without the NUL, also when the
/// buffer is too small; a NULL buffer of capacity 0 asks for the length only.
///
/// # Safety
/// `plan` is live; `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_plan_to_json(
    plan: *const fourbit_plan,
    buffer: *mut c_char,
    capacity: usize,
    out_len: *mut usize,
) -> fourbit_status {
    // SAFETY: this function's contract.
    guard(|| unsafe { put_text(&get(plan)?.plan.to_json(), buffer, capacity, out_len) })
}

/// Reads what fourbit_plan_to_json wrote, perhaps edited in between.
///
/// # Safety
/// `json` is readable for `len` bytes; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_plan_from_json(
    json: *const c_char,
    len: usize,
    out: *mut *mut fourbit_plan,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let text = byte_slice(json.cast(), len, "json")?;
            let text =
                std::str::from_utf8(text).map_err(|_| err!(InvalidArgument, "json is not valid UTF-8"))?;
            handle::give(out, fourbit_plan::new(Plan::from_json(text)?)?)
        }
    })
}

/// Gives a plan up; NULL is allowed. Text borrowed from it becomes invalid.
///
/// # Safety
/// No other call uses this handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_plan_destroy(plan: *mut fourbit_plan) {
    // SAFETY: this function's contract.
    unsafe { handle::destroy(plan) };
}

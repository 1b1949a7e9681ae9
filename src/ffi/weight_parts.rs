use std::ffi::{CString, c_char};

use super::context::fourbit_context;
use super::device::fourbit_device;
use super::guard::{byte_slice, c_str, guard, not_null, write_out};
use super::handle::{self, get};
use super::status::fourbit_status;
use super::tensor::{fourbit_tensor, read_tensor};
use super::text::put_bytes;
use super::weight::fourbit_weight;
use crate::device::Device;
use crate::error::{Result, err};
use crate::memory::{AlignedBytes, Bytes};
use crate::weight::{PartSource, Weight};

/// Names and shapes of a weight's parts in C's form: borrowed views point here.
pub(super) struct CParts(Vec<(CString, Box<[i64]>)>);

impl CParts {
    pub(super) fn of(weight: &Weight) -> Self {
        let c_part = |p: crate::weight::Part<'_>| {
            let dims = p.shape.dims().iter().map(|d| *d as i64).collect();
            (CString::new(p.name).unwrap_or_default(), dims)
        };
        CParts(weight.parts().map(c_part).collect())
    }
}

impl fourbit_weight {
    /// A view of part `index` that borrows from `self`.
    pub(super) fn part_view(&self, index: usize) -> Result<(*const c_char, fourbit_tensor)> {
        let (Some((name, dims)), Some(part)) = (self.parts.0.get(index), self.weight.parts().nth(index))
        else {
            return Err(err!(NotFound, "part {index}: the weight has {} parts", self.parts.0.len()));
        };
        let view = fourbit_tensor {
            data: part.bytes.as_ptr().cast_mut().cast(),
            device: fourbit_device::from(Device::CPU),
            ndim: dims.len() as i32,
            dtype: part.dtype.into(),
            shape: dims.as_ptr(),
            strides: std::ptr::null(),
            byte_offset: 0,
        };
        Ok((name.as_ptr(), view))
    }
}

/// The number of parts: 4, or 6 with double quantization.
///
/// # Safety
/// `weight` is live; `out_count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_part_count(
    weight: *const fourbit_weight,
    out_count: *mut usize,
) -> fourbit_status {
    // SAFETY: this function's contract.
    guard(|| unsafe { write_out(out_count, get(weight)?.parts.0.len(), "out_count") })
}

/// Part `index` under bitsandbytes' name: "" (the packed codes), "absmax", "quant_map",
/// "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4" (or __fp4). A checkpoint
/// stores it as "<tensor>.<name>". Name and view are borrowed: valid until the weight is destroyed,
/// read-only. Either output may be NULL.
///
/// # Safety
/// `weight` is live; outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_part(
    weight: *const fourbit_weight,
    index: usize,
    out_name: *mut *const c_char,
    out_view: *mut fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (name, view) = get(weight)?.part_view(index)?;
            if !out_name.is_null() {
                write_out(out_name, name, "out_name")?;
            }
            if !out_view.is_null() {
                write_out(out_view, view, "out_view")?;
            }
        }
        Ok(())
    })
}

/// Builds a weight from its parts, in any order, under the names fourbit_weight_part gives or under
/// full tensor names ("model.….weight", "model.….weight.absmax", …). The bytes are copied. Every
/// part is checked against the quant state.
///
/// # Safety
/// `context` is live; `names` and `parts` have `count` valid entries; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_from_parts(
    context: *const fourbit_context,
    names: *const *const c_char,
    parts: *const fourbit_tensor,
    count: usize,
    out: *mut *mut fourbit_weight,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        not_null(names, "names")?;
        not_null(parts, "parts")?;
        if count > 64 {
            return Err(err!(InvalidArgument, "count is {count}: a weight has at most 6 parts"));
        }
        // SAFETY: this function's contract.
        unsafe {
            get(context)?;
            let sources: Vec<PartSource<'_>> = (0..count)
                .map(|i| copy_part(names.add(i).read_unaligned(), parts.add(i), i))
                .collect::<Result<_>>()?;
            handle::give(out, fourbit_weight::new(Weight::from_parts(&sources)?))
        }
    })
}

/// # Safety
/// `name` and `part` are NULL or valid.
unsafe fn copy_part<'a>(
    name: *const c_char,
    part: *const fourbit_tensor,
    index: usize,
) -> Result<PartSource<'a>> {
    // SAFETY: the caller's promise.
    let (name, tensor) = unsafe {
        let name = c_str(name, &format!("names[{index}]"))?;
        (name, read_tensor(part, &format!("parts[{index}] (\"{name}\")"))?)
    };
    let (dtype, shape) = (tensor.raw().dtype, tensor.shape());
    let mut bytes = AlignedBytes::zeroed_u64(shape.numel().saturating_mul(dtype.size() as u64))?;
    if tensor.raw().is_compact() && !bytes.as_slice().is_empty() {
        let len = bytes.as_slice().len();
        // SAFETY: a compact tensor is readable for its bytes by the caller's promise.
        bytes.as_mut_slice().copy_from_slice(unsafe { std::slice::from_raw_parts(tensor.raw().data, len) });
    } else {
        tensor.pack_into(bytes.as_mut_slice());
    }
    Ok(PartSource { name, dtype, shape, bytes: Bytes::owned(bytes) })
}

/// Writes a weight as one safetensors image: its parts named "weight", "weight.absmax", …
/// `*out_len` gets the length in bytes, also when the buffer is too small; a NULL buffer of
/// capacity 0 asks for the length only.
///
/// # Safety
/// `weight` is live; `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_serialize(
    weight: *const fourbit_weight,
    buffer: *mut u8,
    capacity: usize,
    out_len: *mut usize,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe { put_bytes(&get(weight)?.weight.serialize()?, buffer, capacity, out_len) }
    })
}

/// Reads what fourbit_weight_serialize wrote (or any safetensors image with the parts of exactly
/// one weight). The bytes are copied.
///
/// # Safety
/// `context` is live; `bytes` is readable for `len` bytes; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_deserialize(
    context: *const fourbit_context,
    bytes: *const u8,
    len: usize,
    out: *mut *mut fourbit_weight,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            get(context)?;
            let weight = Weight::deserialize(byte_slice(bytes, len, "bytes")?)?;
            handle::give(out, fourbit_weight::new(weight))
        }
    })
}

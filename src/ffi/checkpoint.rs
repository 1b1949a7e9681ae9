use std::ffi::{CString, c_char};
use std::sync::Arc;

use super::context::fourbit_context;
use super::device::fourbit_device;
use super::guard::{c_str, guard, not_null, write_out};
use super::handle::{self, Handle, get};
use super::sized::{Growing, write};
use super::status::fourbit_status;
use super::tensor::{FOURBIT_MAX_RANK, fourbit_dtype, fourbit_tensor};
use super::text::put_text;
use super::weight::{dims_of, fourbit_weight};
use crate::checkpoint::{Checkpoint, Entry};
use crate::device::Device;
use crate::error::{Result, err};

/// An open checkpoint: its headers are checked, its data mapped. Any number of threads may use
/// one.
pub struct fourbit_checkpoint {
    pub(super) checkpoint: Arc<Checkpoint>,
    /// Name and shape of every entry in C's form: borrowed views point here.
    entries: Vec<CEntry>,
}

struct CEntry {
    name: CString,
    dims: [i64; FOURBIT_MAX_RANK],
    rank: i32,
}

impl Handle for fourbit_checkpoint {
    const NAME: &'static str = "fourbit_checkpoint";
}

/// What an entry of a checkpoint is.
#[repr(u32)]
pub enum fourbit_checkpoint_entry_kind {
    /// A plain tensor: fourbit_checkpoint_tensor.
    Tensor = 0,
    /// A quantized weight, its statistics included: fourbit_checkpoint_weight.
    Weight = 1,
}

/// One entry of a checkpoint.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_checkpoint_entry {
    /// sizeof(fourbit_checkpoint_entry), set by the caller.
    pub struct_size: u32,
    /// A fourbit_checkpoint_entry_kind.
    pub kind: u32,
    /// The tensor's name; borrowed from the checkpoint.
    pub name: *const c_char,
    /// The element type; of a weight, the dtype of the packed bytes.
    pub dtype: fourbit_dtype,
    /// Number of dimensions.
    pub ndim: i32,
    /// The stored shape; of a weight, that of the packed bytes (fourbit_weight_query has the
    /// original one). `ndim` values, then zeros.
    pub shape: [i64; FOURBIT_MAX_RANK],
    /// Bytes stored, a weight's statistics included.
    pub byte_size: u64,
}

// SAFETY: plain data without padding, `struct_size` first.
unsafe impl Growing for fourbit_checkpoint_entry {
    const NAME: &'static str = "fourbit_checkpoint_entry";
}

impl fourbit_checkpoint {
    fn new(checkpoint: Checkpoint) -> Result<Self> {
        let mut entries = Vec::with_capacity(checkpoint.entries().len());
        for entry in checkpoint.entries() {
            let name = checkpoint.entry_name(entry);
            let tensor = &checkpoint.tensors()[main_tensor(entry)];
            entries.push(CEntry {
                name: CString::new(name).map_err(|_| err!(Format, "tensor {name:?}: its name has a NUL"))?,
                dims: dims_of(&tensor.shape),
                rank: tensor.shape.dims().len() as i32,
            });
        }
        Ok(fourbit_checkpoint { checkpoint: Arc::new(checkpoint), entries })
    }

    fn entry(&self, index: usize) -> Result<(&Entry, &CEntry)> {
        match (self.checkpoint.entries().get(index), self.entries.get(index)) {
            (Some(entry), Some(c)) => Ok((entry, c)),
            _ => Err(err!(NotFound, "entry {index}: the checkpoint has {}", self.entries.len())),
        }
    }
}

/// The tensor that has the entry's name.
fn main_tensor(entry: &Entry) -> usize {
    match entry {
        Entry::Tensor(i) => *i,
        Entry::Weight(weight) => weight.parts[0].1,
    }
}

/// Opens a checkpoint: a directory with model.safetensors or shards and their index, an index
/// file, or one .safetensors file. Every header is checked in full. The files must not change while
/// the checkpoint, or a weight from it, is in use.
///
/// # Safety
/// `path` is a NUL-terminated string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_checkpoint_open(
    path: *const c_char,
    out: *mut *mut fourbit_checkpoint,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let checkpoint = Checkpoint::open(c_str(path, "path")?)?;
            handle::give(out, fourbit_checkpoint::new(checkpoint)?)
        }
    })
}

/// The number of entries. A quantized weight and its statistics are one.
///
/// # Safety
/// `checkpoint` is live; `out_count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_checkpoint_len(
    checkpoint: *const fourbit_checkpoint,
    out_count: *mut usize,
) -> fourbit_status {
    // SAFETY: this function's contract.
    guard(|| unsafe { write_out(out_count, get(checkpoint)?.entries.len(), "out_count") })
}

/// Describes entry `index`. Entries come in natural order of their names.
///
/// # Safety
/// `checkpoint` is live; `out_entry` is NULL or writable for the bytes its `struct_size` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_checkpoint_get(
    checkpoint: *const fourbit_checkpoint,
    index: usize,
    out_entry: *mut fourbit_checkpoint_entry,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let handle = unsafe { get(checkpoint)? };
        let (entry, c) = handle.entry(index)?;
        let tensors = handle.checkpoint.tensors();
        let (kind, byte_size) = match entry {
            Entry::Tensor(i) => (fourbit_checkpoint_entry_kind::Tensor, tensors[*i].byte_len()),
            Entry::Weight(weight) => {
                let bytes = weight.parts.iter().map(|(_, i)| tensors[*i].byte_len()).sum();
                (fourbit_checkpoint_entry_kind::Weight, bytes)
            }
        };
        let description = fourbit_checkpoint_entry {
            struct_size: 0,
            kind: kind as u32,
            name: c.name.as_ptr(),
            dtype: tensors[main_tensor(entry)].dtype.into(),
            ndim: c.rank,
            shape: c.dims,
            byte_size,
        };
        // SAFETY: this function's contract.
        unsafe { write(out_entry, description) }
    })
}

/// The index of the entry of that name. NOT_FOUND if there is none.
///
/// # Safety
/// `checkpoint` is live; `name` is a NUL-terminated string; `out_index` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_checkpoint_find(
    checkpoint: *const fourbit_checkpoint,
    name: *const c_char,
    out_index: *mut usize,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (handle, name) = (get(checkpoint)?, c_str(name, "name")?);
            let index = handle.checkpoint.find_entry(name);
            let index = index.ok_or_else(|| err!(NotFound, "no tensor named \"{name}\""))?;
            write_out(out_index, index, "out_index")
        }
    })
}

/// A view of a plain tensor's mapped bytes, read-only; valid until the checkpoint is destroyed.
///
/// # Safety
/// `checkpoint` is live; `out_view` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_checkpoint_tensor(
    checkpoint: *const fourbit_checkpoint,
    index: usize,
    out_view: *mut fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let handle = unsafe { get(checkpoint)? };
        let (entry, c) = handle.entry(index)?;
        let Entry::Tensor(tensor) = entry else {
            let name = c.name.to_string_lossy();
            return Err(err!(InvalidArgument, "{name} is a quantized weight: use fourbit_checkpoint_weight"));
        };
        let view = fourbit_tensor {
            data: handle.checkpoint.bytes(*tensor)?.as_ptr().cast_mut().cast(),
            device: fourbit_device::from(Device::CPU),
            ndim: c.rank,
            dtype: handle.checkpoint.tensors()[*tensor].dtype.into(),
            shape: c.dims.as_ptr(),
            strides: std::ptr::null(),
            byte_offset: 0,
        };
        // SAFETY: this function's contract.
        unsafe { write_out(out_view, view, "out_view") }
    })
}

/// A quantized weight of the checkpoint on the context's device. On the CPU its bytes stay mapped,
/// nothing is copied; the weight keeps the mapping alive.
///
/// # Safety
/// Handles are live; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_checkpoint_weight(
    checkpoint: *const fourbit_checkpoint,
    context: *const fourbit_context,
    index: usize,
    out: *mut *mut fourbit_weight,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            get(context)?;
            let handle = get(checkpoint)?;
            let (entry, _) = handle.entry(index)?;
            let parts = match entry {
                Entry::Weight(parts) => parts,
                // A plain tensor is the wrong answer to this question; this says why.
                Entry::Tensor(i) => handle.checkpoint.weight_parts(&handle.checkpoint.tensors()[*i].name)?,
            };
            handle::give(out, fourbit_weight::new(handle.checkpoint.weight(&parts.name)?))
        }
    })
}

/// The text of config.json beside the files, and a NUL. NOT_FOUND if there is none. `*out_len` gets
/// the length without the NUL, also when the buffer is too small; a NULL buffer of capacity 0 asks
/// for the length only.
///
/// # Safety
/// `checkpoint` is live; `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_checkpoint_config(
    checkpoint: *const fourbit_checkpoint,
    buffer: *mut c_char,
    capacity: usize,
    out_len: *mut usize,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let checkpoint = &get(checkpoint)?.checkpoint;
            let missing = || err!(NotFound, "{}: no config.json", checkpoint.directory().display());
            put_text(checkpoint.config_text()?.ok_or_else(missing)?, buffer, capacity, out_len)
        }
    })
}

/// Closes a checkpoint; NULL is allowed. Views borrowed from it become invalid, weights from it
/// stay valid.
///
/// # Safety
/// No other call uses this handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_checkpoint_destroy(checkpoint: *mut fourbit_checkpoint) {
    // SAFETY: this function's contract.
    unsafe { handle::destroy(checkpoint) };
}

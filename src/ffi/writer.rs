use std::ffi::c_char;
use std::path::PathBuf;

use super::convert::fourbit_save_config;
use super::guard::{byte_slice, c_str, guard, not_null};
use super::handle::{self, Handle, get, get_mut};
use super::sized::read;
use super::status::fourbit_status;
use super::tensor::{fourbit_tensor, read_tensor};
use super::weight::fourbit_weight;
use crate::checkpoint::{CheckpointBuilder, SaveOptions};
use crate::error::{Result, err};
use crate::memory::{AlignedBytes, Bytes};

/// A checkpoint being put together. Used by one thread at a time.
pub struct fourbit_writer {
    directory: PathBuf,
    options: SaveOptions,
    builder: CheckpointBuilder,
    finished: bool,
}

impl Handle for fourbit_writer {
    const NAME: &'static str = "fourbit_writer";
}

impl fourbit_writer {
    fn open(&mut self) -> Result<&mut Self> {
        if self.finished {
            return Err(err!(InvalidState, "the writer is finished already"));
        }
        Ok(self)
    }
}

/// Starts a checkpoint that fourbit_writer_finish will write to a directory. `config` may be NULL.
///
/// # Safety
/// `out_dir` is a NUL-terminated string; `config` is NULL or readable for the bytes it states; `out`
/// is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_writer_create(
    out_dir: *const c_char,
    config: *const fourbit_save_config,
    out: *mut *mut fourbit_writer,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let writer = fourbit_writer {
                directory: PathBuf::from(c_str(out_dir, "out_dir")?),
                options: read(config)?.options()?,
                builder: CheckpointBuilder::default(),
                finished: false,
            };
            handle::give(out, writer)
        }
    })
}

/// Adds a tensor; its elements are copied.
///
/// # Safety
/// `writer` is live and used by this thread alone; `name` is a NUL-terminated string; `tensor`
/// describes readable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_writer_add_tensor(
    writer: *mut fourbit_writer,
    name: *const c_char,
    tensor: *const fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let (writer, name, tensor) =
            unsafe { (get_mut(writer)?.open()?, c_str(name, "name")?, read_tensor(tensor, "tensor")?) };
        let dtype = tensor.raw().dtype;
        let mut bytes = AlignedBytes::zeroed_u64(tensor.shape().numel() * dtype.size() as u64)?;
        tensor.pack_into(bytes.as_mut_slice());
        writer.builder.add_tensor(name, dtype, tensor.shape(), Bytes::owned(bytes));
        Ok(())
    })
}

/// Adds a weight under the names bitsandbytes gives its parts: `name`, `name`.absmax, …
///
/// # Safety
/// `writer` is live and used by this thread alone; `name` is a NUL-terminated string; `weight` is
/// live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_writer_add_weight(
    writer: *mut fourbit_writer,
    name: *const c_char,
    weight: *const fourbit_weight,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (writer, name) = (get_mut(writer)?.open()?, c_str(name, "name")?);
            writer.builder.add_weight(name, &get(weight)?.weight)
        }
    })
}

/// Sets a key of every file's metadata. "format" is "pt" unless set otherwise.
///
/// # Safety
/// `writer` is live and used by this thread alone; `key` and `value` are NUL-terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_writer_set_metadata(
    writer: *mut fourbit_writer,
    key: *const c_char,
    value: *const c_char,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (writer, key, value) = (get_mut(writer)?.open()?, c_str(key, "key")?, c_str(value, "value")?);
            writer.builder.set_metadata(key, value);
        }
        Ok(())
    })
}

/// Sets the text of config.json.
///
/// # Safety
/// `writer` is live and used by this thread alone; `text` is readable for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_writer_set_config(
    writer: *mut fourbit_writer,
    text: *const c_char,
    len: usize,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let (writer, text) = unsafe { (get_mut(writer)?.open()?, byte_slice(text.cast(), len, "text")?) };
        let text = std::str::from_utf8(text).map_err(|_| err!(InvalidArgument, "text is not valid UTF-8"))?;
        writer.options.config = Some(text.to_owned());
        Ok(())
    })
}

/// Writes everything. Files appear under their final names when all of it is on disk; on failure
/// nothing remains and the writer may be finished again. After success it can only be destroyed.
///
/// # Safety
/// `writer` is live and used by this thread alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_writer_finish(writer: *mut fourbit_writer) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let writer = unsafe { get_mut(writer)?.open()? };
        writer.builder.write(&writer.directory, &writer.options)?;
        writer.finished = true;
        Ok(())
    })
}

/// Gives a writer up, finished or not; NULL is allowed. Unfinished, it has written nothing.
///
/// # Safety
/// No other call uses this handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_writer_destroy(writer: *mut fourbit_writer) {
    // SAFETY: this function's contract.
    unsafe { handle::destroy(writer) };
}

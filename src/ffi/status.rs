use std::ffi::c_char;

use super::guard;
use crate::error::Error;

/// What happened. Zero is success; any other value is a failure, which leaves outputs untouched.
/// Numbers are never reused, and new ones may appear: treat an unknown one as a failure.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum fourbit_status {
    /// Done.
    Ok = 0,
    /// A required pointer was NULL, or a value was out of its range.
    InvalidArgument = 1,
    /// Not a live handle of that type.
    InvalidHandle = 2,
    /// Shapes do not fit each other.
    ShapeMismatch = 3,
    /// An element type that the operation does not take.
    DtypeUnsupported = 4,
    /// A tensor lives on another device than the context.
    DeviceMismatch = 5,
    /// No such device, or no driver for it.
    DeviceUnavailable = 6,
    /// The device reported an error.
    DeviceError = 7,
    /// Memory could not be allocated.
    OutOfMemory = 8,
    /// The operating system refused a file operation.
    Io = 9,
    /// A file or serialized object is malformed.
    Format = 10,
    /// No entry of that name or index.
    NotFound = 11,
    /// The buffer is too small; the needed size was written. Call again with that much room.
    BufferTooSmall = 12,
    /// Not built in, not supported, or a struct carries fields that this version does not know.
    Unsupported = 13,
    /// The call is not allowed in the object's present state.
    InvalidState = 14,
    /// A callback asked to stop.
    Cancelled = 15,
    /// A bug in the library. Destroy the handles of the call; the process may go on.
    Panic = 16,
}

impl From<&Error> for fourbit_status {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidArgument(_) => fourbit_status::InvalidArgument,
            Error::InvalidHandle(_) => fourbit_status::InvalidHandle,
            Error::ShapeMismatch(_) => fourbit_status::ShapeMismatch,
            Error::DtypeUnsupported(_) => fourbit_status::DtypeUnsupported,
            Error::DeviceMismatch(_) => fourbit_status::DeviceMismatch,
            Error::DeviceUnavailable(_) => fourbit_status::DeviceUnavailable,
            Error::DeviceError(_) => fourbit_status::DeviceError,
            Error::OutOfMemory(_) => fourbit_status::OutOfMemory,
            Error::Io { .. } => fourbit_status::Io,
            Error::Format(_) => fourbit_status::Format,
            Error::NotFound(_) => fourbit_status::NotFound,
            Error::BufferTooSmall(_) => fourbit_status::BufferTooSmall,
            Error::Unsupported(_) => fourbit_status::Unsupported,
            Error::InvalidState(_) => fourbit_status::InvalidState,
            Error::Cancelled(_) => fourbit_status::Cancelled,
        }
    }
}

/// The name of a status, such as "shape mismatch". Static, never NULL, also for unknown numbers.
#[unsafe(no_mangle)]
pub extern "C" fn fourbit_status_name(status: i32) -> *const c_char {
    let name = match status {
        0 => c"ok",
        1 => c"invalid argument",
        2 => c"invalid handle",
        3 => c"shape mismatch",
        4 => c"dtype unsupported",
        5 => c"device mismatch",
        6 => c"device unavailable",
        7 => c"device error",
        8 => c"out of memory",
        9 => c"i/o error",
        10 => c"malformed data",
        11 => c"not found",
        12 => c"buffer too small",
        13 => c"unsupported",
        14 => c"invalid state",
        15 => c"cancelled",
        16 => c"internal error",
        _ => c"unknown status",
    };
    name.as_ptr()
}

/// What went wrong in the last fourbit call that failed on this thread, in words for a person:
/// the tensor, file, field and value at fault. Never NULL (empty before the first failure). Valid
/// until the next failing call on this thread; copy it to keep it.
#[unsafe(no_mangle)]
pub extern "C" fn fourbit_last_error() -> *const c_char {
    guard::last_error()
}

//! Structs that grow. Their first field is `struct_size`; all-zero means "every default". A
//! shorter struct is filled with zeros; a longer one is taken if what we do not know is zero.

use super::guard::not_null;
use crate::error::{Result, err};

/// A struct's size as the caller states it is believed up to here.
const MAX_SIZE: usize = 4096;

/// `repr(C)` data without padding, valid for every bit pattern, whose first field is
/// `struct_size: u32`.
///
/// # Safety
/// Exactly that.
pub(super) unsafe trait Growing: Copy {
    const NAME: &'static str;
}

/// # Safety
/// `p` is readable for the four bytes of `struct_size`.
unsafe fn stated_size<T: Growing>(p: *const T) -> Result<usize> {
    // SAFETY: the caller's promise.
    let stated = unsafe { p.cast::<u32>().read_unaligned() } as usize;
    if !(4..=MAX_SIZE).contains(&stated) {
        return Err(err!(
            InvalidArgument,
            "{}.struct_size is {stated}, expected sizeof({}) = {}",
            T::NAME,
            T::NAME,
            size_of::<T>()
        ));
    }
    Ok(stated)
}

/// Reads a config; NULL means every default.
///
/// # Safety
/// `p` is NULL or readable for the bytes its `struct_size` states.
pub(super) unsafe fn read<T: Growing>(p: *const T) -> Result<T> {
    // SAFETY: `Growing` types are valid for zero bytes.
    let mut value: T = unsafe { std::mem::zeroed() };
    if p.is_null() {
        return Ok(value);
    }
    // SAFETY: the caller's promise covers the first field and all the bytes it states.
    unsafe {
        let stated = stated_size(p)?;
        let known = stated.min(size_of::<T>());
        std::ptr::copy_nonoverlapping(p.cast::<u8>(), (&raw mut value).cast(), known);
        let unknown = std::slice::from_raw_parts(p.cast::<u8>().add(known), stated - known);
        if unknown.iter().any(|b| *b != 0) {
            return Err(err!(Unsupported, "{} sets fields that this version does not know", T::NAME));
        }
    }
    Ok(value)
}

/// Writes a result as far as the caller's struct reaches, keeping its `struct_size`.
///
/// # Safety
/// `p` is NULL or writable for the bytes its `struct_size` states.
pub(super) unsafe fn write<T: Growing>(p: *mut T, value: T) -> Result<()> {
    not_null(p, T::NAME)?;
    // SAFETY: the caller's promise.
    unsafe {
        let known = stated_size(p)?.min(size_of::<T>());
        std::ptr::copy_nonoverlapping(
            (&raw const value).cast::<u8>().add(4),
            p.cast::<u8>().add(4),
            known - 4,
        );
    }
    Ok(())
}

/// A flag of a config: 0 or 1.
pub(super) fn flag(value: u32, name: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(err!(InvalidArgument, "{name} is {other}, expected 0 or 1")),
    }
}

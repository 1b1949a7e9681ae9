//! Opaque handles. A registry knows every live one by address and type, so that a wrong or
//! destroyed handle is told apart without touching its memory.

use std::collections::HashMap;
use std::sync::{LazyLock, RwLock};

use super::guard::not_null;
use crate::error::{Result, err};

/// A type that C holds by pointer.
pub(super) trait Handle: Sized {
    /// Its C name.
    const NAME: &'static str;
}

/// Shards keep threads that use different handles off each other's lock.
const SHARDS: usize = 16;

type Live = RwLock<HashMap<usize, &'static str>>;

static REGISTRY: LazyLock<[Live; SHARDS]> = LazyLock::new(|| std::array::from_fn(|_| Live::default()));

fn shard(address: usize) -> &'static Live {
    &REGISTRY[(address >> 6) % SHARDS]
}

/// Gives an object to the caller.
///
/// # Safety
/// `out` is NULL or valid for a write.
pub(super) unsafe fn give<H: Handle>(out: *mut *mut H, value: H) -> Result<()> {
    not_null(out, "out")?;
    let raw = Box::into_raw(Box::new(value));
    let address = raw as usize;
    shard(address).write().unwrap_or_else(|e| e.into_inner()).insert(address, H::NAME);
    // SAFETY: not NULL, and the caller's promise.
    unsafe { out.write_unaligned(raw) };
    Ok(())
}

fn check<H: Handle>(handle: *const H) -> Result<()> {
    if handle.is_null() {
        return Err(err!(InvalidArgument, "{} must not be NULL", H::NAME));
    }
    let address = handle as usize;
    match shard(address).read().unwrap_or_else(|e| e.into_inner()).get(&address) {
        Some(name) if *name == H::NAME => Ok(()),
        Some(name) => Err(err!(InvalidHandle, "expected a {}, got a {name}", H::NAME)),
        None => Err(err!(InvalidHandle, "not a live {} (destroyed, or never one)", H::NAME)),
    }
}

/// Borrows the object behind a handle.
///
/// # Safety
/// The caller keeps the contract of threads: nobody destroys the handle during `'a`.
pub(super) unsafe fn get<'a, H: Handle>(handle: *const H) -> Result<&'a H> {
    check(handle)?;
    // SAFETY: registered, so it points to a live `H` made by `give`.
    Ok(unsafe { &*handle })
}

/// Borrows the object exclusively.
///
/// # Safety
/// As for [`get`], and no other call uses the handle during `'a`.
pub(super) unsafe fn get_mut<'a, H: Handle>(handle: *mut H) -> Result<&'a mut H> {
    check(handle)?;
    // SAFETY: registered, and exclusive by the caller's promise.
    Ok(unsafe { &mut *handle })
}

/// Destroys a handle; NULL is allowed. A pointer that is no live handle of this type is left
/// alone: there is nobody to tell, and freeing it would corrupt memory.
///
/// # Safety
/// No other call uses the handle.
pub(super) unsafe fn destroy<H: Handle>(handle: *mut H) {
    let address = handle as usize;
    let mut live = shard(address).write().unwrap_or_else(|e| e.into_inner());
    if live.get(&address) != Some(&H::NAME) {
        return;
    }
    live.remove(&address);
    drop(live);
    // A destructor that panics must not unwind into C.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // SAFETY: it was registered, so it came from `give`, and is unregistered only once.
        drop(unsafe { Box::from_raw(handle) });
    }));
}

use std::ffi::{CString, c_char};
use std::sync::LazyLock;

use crate::backend::cpu::Isa;

/// The number of the binary interface, and of the SONAME. It moves when a program built against
/// an older header could break.
pub const FOURBIT_ABI_VERSION: u32 = 0;

/// FOURBIT_ABI_VERSION of the library that is running.
#[unsafe(no_mangle)]
pub extern "C" fn fourbit_abi_version() -> u32 {
    FOURBIT_ABI_VERSION
}

/// The library's version as major * 10000 + minor * 100 + patch.
#[unsafe(no_mangle)]
pub extern "C" fn fourbit_version() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    part(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
        + part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// One line: version, backends built in, best instruction set of this machine. Static.
#[unsafe(no_mangle)]
pub extern "C" fn fourbit_build_info() -> *const c_char {
    static INFO: LazyLock<CString> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("{version} cpu ({}, {})", std::env::consts::ARCH, Isa::detect().name());
        CString::new(text).unwrap_or_default()
    });
    INFO.as_ptr()
}

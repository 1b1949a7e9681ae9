//! Cargo has no field for the SONAME: it carries the ABI number, not the crate's version.

/// Must equal `FOURBIT_ABI_VERSION` (src/ffi/version.rs); a test compares them.
const ABI_VERSION: u32 = 0;

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libfourbit.so.{ABI_VERSION}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

//! The C ABI: the only room that knows C. One file per C type; every exported body runs inside
//! `guard`, every pointer and number is checked here, and nothing past this edge can be malformed.
//!
//! The header `include/fourbit/fourbit.h` is generated from these files (`make header`); their doc
//! comments are its documentation. Conventions: docs/c-api.md.

#![allow(non_camel_case_types)]

mod guard;
mod handle;
mod log;
mod sized;
mod status;
mod text;
mod version;

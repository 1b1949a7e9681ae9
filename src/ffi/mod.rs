//! The C ABI: the only room that knows C. One file per C type; every exported body runs inside
//! `guard`, every pointer and number is checked here, and nothing past this edge can be malformed.
//!
//! The header `include/fourbit/fourbit.h` is generated from these files (`make header`); their doc
//! comments are its documentation. Conventions: docs/c-api.md.

#![allow(non_camel_case_types)]
// The doc comments are written for the header, where brackets are shapes and indices.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

mod checkpoint;
mod compute;
mod context;
mod convert;
mod device;
mod dlpack;
mod guard;
mod handle;
mod log;
mod model;
#[cfg(test)]
mod panics;
mod plan;
mod quantizer;
mod sized;
mod status;
mod tensor;
mod text;
mod version;
mod weight;
mod weight_parts;
mod writer;

pub use checkpoint::*;
pub use compute::*;
pub use context::*;
pub use convert::*;
pub use device::*;
pub use dlpack::*;
pub use log::*;
pub use model::*;
pub use plan::*;
pub use quantizer::*;
pub use status::*;
pub use tensor::*;
pub use version::*;
pub use weight::*;
pub use weight_parts::*;
pub use writer::*;

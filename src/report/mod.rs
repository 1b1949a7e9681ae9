//! `fourbit report`: what quantizing did to a checkpoint, as one page that needs nothing besides itself.
//!
//! [`collect`] reads both checkpoints through and gathers [`facts`]; `page` lays them out with one module
//! per section, in [`markup`] that escapes whatever comes from a file. Only the command has this; the
//! libraries carry none of it.

mod charts;
mod collect;
mod devices;
mod distributions;
mod errors;
pub(crate) mod facts;
mod format;
mod heat;
mod histogram;
mod map_picture;
mod markup;
mod normal;
mod page;
mod sizes;

pub(crate) use collect::collect;
pub(crate) use devices::add_maps;
pub(crate) use page::page;

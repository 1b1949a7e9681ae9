//! AVX-512 with BF16: tiles of weights and input. What multiplies them is in other modules.

mod collect;
mod decode;
mod interleaved;
mod pack;
mod pack_terms;
mod rows;
mod split;

pub(crate) use collect::collect;
pub(crate) use decode::decode;
pub(crate) use interleaved::decode_pairs;
pub(crate) use pack::pack;
pub(crate) use pack_terms::{codebook_terms, ordinary, pack_terms};

//! Quantized weights of a checkpoint, in place or copied.

use super::entries::WeightEntry;
use super::reader::Checkpoint;
use crate::error::Result;
use crate::memory::{AlignedBytes, Bytes, Keeper};
use crate::weight::{PartSource, Weight};

impl Checkpoint {
    /// A quantized weight whose bytes are those of the mapped files: nothing is copied (except `f32`
    /// statistics at odd addresses), and the mapping lives as long as the weight.
    pub fn weight(&self, name: &str) -> Result<Weight> {
        self.assemble(self.weight_parts(name)?, |index| {
            let (mapping, range) = self.mapping(index)?;
            let keeper: Keeper = mapping.clone();
            // SAFETY: the mapping owns the bytes; see `Mapping` for files that are changed meanwhile.
            Ok(unsafe { Bytes::borrowed(&mapping[range], keeper) })
        })
    }

    /// A quantized weight with a copy of its bytes: unlike [`Self::weight`] this cannot be hurt by a file
    /// that is cut short meanwhile.
    pub fn read_weight(&self, name: &str) -> Result<Weight> {
        self.weight_copied(self.weight_parts(name)?)
    }

    /// A quantized weight with a copy of its bytes, for which a file that is cut short is an error.
    pub(super) fn weight_copied(&self, entry: &WeightEntry) -> Result<Weight> {
        self.assemble(entry, |index| {
            let mut bytes = AlignedBytes::zeroed_u64(self.tensors()[index].byte_len())?;
            self.read_at(index, 0, bytes.as_mut_slice())?;
            Ok(Bytes::owned(bytes))
        })
    }

    fn assemble(&self, entry: &WeightEntry, bytes: impl Fn(usize) -> Result<Bytes>) -> Result<Weight> {
        let mut sources = Vec::with_capacity(entry.parts.len());
        for &(_, index) in &entry.parts {
            let tensor = &self.tensors()[index];
            let (dtype, shape) = (tensor.dtype, tensor.shape);
            sources.push(PartSource { name: &tensor.name, dtype, shape, bytes: bytes(index)? });
        }
        Weight::from_parts(&sources).map_err(|e| {
            let (_, codes) = entry.parts[0];
            let file = self.shards()[self.tensors()[codes].shard].path();
            e.in_place(format_args!("{}: weight {}", file.display(), super::header::quoted(&entry.name)))
        })
    }
}

//! Quantized weights of an open checkpoint, over its mapped bytes.

use super::{Checkpoint, WeightEntry};
use crate::error::Result;
use crate::memory::{Bytes, Keeper};
use crate::weight::{PartSource, Weight};

impl Checkpoint {
    /// The mapped bytes of a tensor, kept alive by themselves. `index` counts among
    /// [`Self::tensors`].
    pub fn mapped_bytes(&self, index: usize) -> Result<Bytes> {
        let (mapping, range) = self.mapping(index)?;
        let keeper: Keeper = mapping.clone();
        // SAFETY: the keeper is the mapping, and files of a checkpoint in use must not change (see
        // `Mapping` for what happens if one is cut short).
        Ok(unsafe { Bytes::borrowed(&mapping[range], keeper) })
    }

    /// A quantized weight over the mapped bytes: nothing is copied, except `f32` statistics at odd
    /// addresses. The weight keeps the mapping alive.
    pub fn weight(&self, entry: &WeightEntry) -> Result<Weight> {
        let mut parts = Vec::with_capacity(entry.parts.len());
        for &(name, index) in &entry.parts {
            let tensor = &self.tensors()[index];
            let bytes = self.mapped_bytes(index)?;
            parts.push(PartSource { name, dtype: tensor.dtype, shape: tensor.shape, bytes });
        }
        Weight::from_parts(&parts).map_err(|e| e.in_place(&entry.name))
    }
}

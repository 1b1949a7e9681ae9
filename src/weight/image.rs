//! A weight as one safetensors image in memory: the parts under the names they have in a
//! checkpoint, with `weight` for the packed codes.

use std::sync::Arc;

use safetensors::SafeTensors;
use safetensors::tensor::{TensorView, serialize};

use super::{Part, PartSource, Weight};
use crate::dtype::DType;
use crate::error::{Result, err};
use crate::memory::{AlignedBytes, Bytes, Keeper};
use crate::shape::Shape;

const OWNER: &str = "weight";

impl Weight {
    /// One safetensors image: `weight`, `weight.absmax`, …; ordered as the safetensors library
    /// orders (wider element types first, then by name), metadata `{"format":"pt"}`.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        let mut views = Vec::new();
        for part in self.parts() {
            let shape: Vec<usize> = part.shape.dims().iter().map(|d| *d as usize).collect();
            let view = TensorView::new(part.dtype.into(), shape, part.bytes)
                .map_err(|e| err!(Format, "part \"{}\": {e}", part.name))?;
            views.push((full_name(&part), view));
        }
        let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        serialize(views, Some(metadata)).map_err(|e| err!(Format, "cannot serialize: {e}"))
    }

    /// Reads an image. The bytes are copied once, so `image` may go away.
    pub fn deserialize(image: &[u8]) -> Result<Self> {
        let copy = Arc::new(AlignedBytes::copy_of(image)?);
        let keeper: Keeper = copy.clone();
        let tensors = SafeTensors::deserialize(copy.as_slice())
            .map_err(|e| err!(Format, "not a safetensors image of a weight: {e}"))?;
        let mut parts = Vec::new();
        let names: Vec<String> = tensors.names().into_iter().map(String::from).collect();
        for name in &names {
            let view = tensors.tensor(name).map_err(|e| err!(Format, "part \"{name}\": {e}"))?;
            let dtype = DType::try_from(view.dtype()).map_err(|e| e.in_place(name))?;
            let dims: Vec<u64> = view.shape().iter().map(|d| *d as u64).collect();
            let shape = Shape::new(&dims).map_err(|e| e.in_place(name))?;
            // SAFETY: the keeper owns the bytes that `view` points into.
            let bytes = unsafe { Bytes::borrowed(view.data(), keeper.clone()) };
            parts.push(PartSource { name, dtype, shape, bytes });
        }
        Weight::from_parts(&parts)
    }
}

fn full_name(part: &Part<'_>) -> String {
    match part.name {
        "" => OWNER.to_owned(),
        name => format!("{OWNER}.{name}"),
    }
}

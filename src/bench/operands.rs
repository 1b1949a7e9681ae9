//! Weights and inputs to measure with. Their values mean nothing; no kernel's time depends on them.

use super::{Sink, Source};
use crate::codebook::{DYNAMIC_MAP, QuantType};
use crate::dtype::FloatType;
use crate::error::Result;
use crate::memory::{Bytes, F32Values};
use crate::quant::{BlockSize, Geometry, NESTED_BLOCK_SIZE, Storage};
use crate::shape::Shape;
use crate::tensor::{RawTensor, TensorMut, TensorRef};
use crate::weight::{Absmax, Fields, Nested, Packing, Weight};

/// More weights than this are never needed to keep them cold: reading them all takes long enough.
const MOST: usize = 4096;

/// The form of a weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) shape: (u64, u64),
    pub(super) block: BlockSize,
    pub(super) double: bool,
}

impl Form {
    /// NF4, block size 64, plain absmax.
    pub(super) fn plain(shape: (u64, u64)) -> Self {
        Form { shape, block: BlockSize::DEFAULT, double: false }
    }

    pub(super) fn geometry(&self) -> Geometry {
        Geometry { numel: self.shape.0 * self.shape.1, block_size: self.block }
    }

    /// Bytes that a product or dequantization must read: codes and scales.
    pub(super) fn bytes(&self) -> usize {
        let g = self.geometry();
        let scales = if self.double { g.blocks() + 4 * g.nested_blocks() } else { 4 * g.blocks() };
        (g.packed_bytes() + scales) as usize
    }

    /// As many different weights as fit in `source`: each is cold when its turn comes.
    pub(super) fn weights(&self, source: &mut Source) -> Result<Vec<Weight>> {
        (0..source.slots(self.bytes()).min(MOST)).map(|_| self.weight(source)).collect()
    }

    /// One weight.
    pub(super) fn weight(&self, source: &mut Source) -> Result<Weight> {
        let g = self.geometry();
        let codes = source.slot(g.packed_bytes() as usize)?;
        let f32s = |source: &mut Source, count: u64| F32Values::new(source.slot(count as usize * 4)?);
        let absmax = if self.double {
            Absmax::Double {
                codes: source.slot(g.blocks() as usize)?,
                nested: Nested {
                    absmax: f32s(source, g.nested_blocks())?,
                    map: F32Values::copy_of(&DYNAMIC_MAP)?,
                    block_size: NESTED_BLOCK_SIZE,
                    dtype: FloatType::F32.torch_name().into(),
                    offset: 0.125,
                },
            }
        } else {
            Absmax::Plain(f32s(source, g.blocks())?)
        };
        Ok(Weight::from_fields(Fields {
            shape: Shape::new(&[self.shape.0, self.shape.1])?,
            shape_known: true,
            dtype: FloatType::Bf16,
            quant_type: QuantType::Nf4,
            block_size: self.block,
            packing: Packing { storage: Storage::U8, is_row: false },
            codes,
            quant_map: F32Values::copy_of(QuantType::Nf4.codebook())?,
            absmax,
        }))
    }
}

/// A matrix to read.
pub(super) struct Input {
    bytes: Bytes,
    dtype: FloatType,
    shape: Shape,
}

impl Input {
    pub(super) fn new(source: &mut Source, dtype: FloatType, rows: u64, columns: u64) -> Result<Self> {
        let shape = Shape::new(&[rows, columns])?;
        Ok(Input { bytes: source.slot(shape.numel() as usize * dtype.size())?, dtype, shape })
    }

    pub(super) fn view(&self) -> Result<TensorRef<'_>> {
        TensorRef::from_bytes(self.bytes.as_slice(), self.dtype.into(), self.shape)
    }
}

/// The next matrix to write.
pub(super) fn output(sink: &mut Sink, dtype: FloatType, rows: u64, columns: u64) -> Result<TensorMut<'_>> {
    let shape = Shape::new(&[rows, columns])?;
    let slot = sink.slot(shape.numel() as usize * dtype.size())?;
    let raw = RawTensor::new(slot.as_mut_ptr(), dtype.into(), shape, None)?;
    // SAFETY: compact and as large as the slot, which stays borrowed for the view's life.
    Ok(unsafe { TensorMut::from_raw(raw) })
}

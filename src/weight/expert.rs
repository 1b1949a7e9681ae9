//! One expert of a weight that holds several: fused experts, `[experts, …, …]`.

use super::{Absmax, Fields, Nested, Weight};
use crate::error::{Result, err};
use crate::memory::{AlignedBytes, Bytes, F32Values};
use crate::quant::Geometry;
use crate::shape::Shape;

impl Weight {
    /// Matrix `index` of a weight of three dimensions, as a weight of its own that shares the codes,
    /// and may outlive this one. It shares the scales as well, unless they are double-quantized and the
    /// matrix does not begin one of their second-level blocks: it then has scales of its own, decoded to
    /// `f32` (four bytes per block), and decodes to the same bits.
    ///
    /// The matrices must consist of whole blocks.
    pub fn expert(&self, index: u64) -> Result<Weight> {
        let [experts, rows, columns] = *self.shape.dims() else {
            return Err(err!(
                ShapeMismatch,
                "weight has shape {}, expected three dimensions: [experts, out, in] or [experts, in, out]",
                self.shape
            ));
        };
        if index >= experts {
            return Err(err!(InvalidArgument, "expert {index}: the weight has {experts}"));
        }
        let shape = Shape::new(&[rows, columns])?;
        let geometry = Geometry { numel: shape.numel(), block_size: self.block_size };
        let block = self.block_size.get() as u64;
        if !geometry.numel.is_multiple_of(block) {
            return Err(err!(
                ShapeMismatch,
                "weight has shape {}: {rows} x {columns} elements are not whole blocks of {block}, so that \
                 experts share blocks",
                self.shape
            ));
        }
        let first_block = index * geometry.blocks();
        let first_byte = (index * geometry.packed_bytes()) as usize;
        Ok(Weight::from_fields(Fields {
            shape,
            shape_known: true,
            dtype: self.dtype,
            quant_type: self.quant_type,
            block_size: self.block_size,
            packing: self.packing,
            codes: self.codes.slice(first_byte..first_byte + geometry.packed_bytes() as usize),
            quant_map: self.quant_map.clone(),
            absmax: self.absmax.blocks(self, first_block, geometry.blocks())?,
        }))
    }
}

impl Absmax {
    /// The scales of `count` blocks of `weight` from `first` on.
    fn blocks(&self, weight: &Weight, first: u64, count: u64) -> Result<Absmax> {
        let (start, count) = (first as usize, count as usize);
        match self {
            Absmax::Plain(values) => Ok(Absmax::Plain(values.slice(start..start + count))),
            Absmax::Double { codes, nested } if first.is_multiple_of(u64::from(nested.block_size)) => {
                let per_value = nested.block_size as usize;
                let (nested_start, nested_count) = (start / per_value, count.div_ceil(per_value));
                Ok(Absmax::Double {
                    codes: codes.slice(start..start + count),
                    nested: Nested {
                        absmax: nested.absmax.slice(nested_start..nested_start + nested_count),
                        map: nested.map.clone(),
                        block_size: nested.block_size,
                        dtype: nested.dtype.clone(),
                        offset: nested.offset,
                    },
                })
            }
            Absmax::Double { .. } => {
                let mut values = AlignedBytes::zeroed(count * 4)?;
                let scales = weight.kernel_ref().scales;
                for (i, value) in values.as_f32_mut().iter_mut().enumerate() {
                    // SAFETY: the weight lives, and its parts cover all of its blocks.
                    *value = unsafe { scales.get(start + i) };
                }
                Ok(Absmax::Plain(F32Values::new(Bytes::owned(values))?))
            }
        }
    }
}

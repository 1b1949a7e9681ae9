//! A quantized weight: packed codes and the quant state that decodes them, in the very bytes that
//! bitsandbytes stores.

mod expert;
mod image;
mod parts;
mod state_json;
mod statistics;

pub(crate) use parts::state_part_name;
pub use parts::{Part, PartSource};
pub(crate) use state_json::{MAX_BYTES as MAX_STATE_BYTES, read as read_state, text as state_text};

use crate::backend::{Scales, WeightRef};
use crate::codebook::QuantType;
use crate::dtype::FloatType;
use crate::memory::{Bytes, F32Values};
use crate::quant::{BlockSize, Geometry, Storage};
use crate::shape::Shape;

/// A 4-bit weight. Immutable; cloning shares the bytes.
#[derive(Clone)]
pub struct Weight {
    shape: Shape,
    dtype: FloatType,
    quant_type: QuantType,
    block_size: BlockSize,
    packing: Packing,
    codes: Bytes,
    quant_map: F32Values,
    absmax: Absmax,
    /// The text of the `quant_state.bitsandbytes__*` part.
    state_json: std::sync::Arc<str>,
}

/// How the packed bytes are labelled: their element type, and `[n, 1]` or the legacy `[1, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    pub storage: Storage,
    pub is_row: bool,
}

/// One scale per block: plain, or quantized to 8 bits in turn.
#[derive(Clone)]
pub(crate) enum Absmax {
    Plain(F32Values),
    Double { codes: Bytes, nested: Nested },
}

/// The second level of double quantization.
#[derive(Clone)]
pub(crate) struct Nested {
    pub absmax: F32Values,
    pub map: F32Values,
    pub block_size: u32,
    /// The dtype of the values that were quantized, as its torch name. Nothing depends on it.
    pub dtype: String,
    pub offset: f32,
}

/// Everything a weight is made of, already checked against each other.
pub(crate) struct Fields {
    pub shape: Shape,
    pub shape_known: bool,
    pub dtype: FloatType,
    pub quant_type: QuantType,
    pub block_size: BlockSize,
    pub packing: Packing,
    pub codes: Bytes,
    pub quant_map: F32Values,
    pub absmax: Absmax,
}

impl Weight {
    pub(crate) fn from_fields(fields: Fields) -> Self {
        let state_json = state_json::write(&fields).into();
        let Fields {
            shape,
            shape_known: _,
            dtype,
            quant_type,
            block_size,
            packing,
            codes,
            quant_map,
            absmax,
        } = fields;
        Weight { shape, dtype, quant_type, block_size, packing, codes, quant_map, absmax, state_json }
    }

    /// The shape of the original weight, `[out, in]` for a linear layer. A quant state without a
    /// shape (`"shape": null`) gives a flat one, two elements per packed byte.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The dtype of the original weight: the default to dequantize to.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }

    /// NF4 or FP4.
    pub fn quant_type(&self) -> QuantType {
        self.quant_type
    }

    /// Elements per absmax.
    pub fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// Whether the absmax values are quantized themselves.
    pub fn is_double_quantized(&self) -> bool {
        matches!(self.absmax, Absmax::Double { .. })
    }

    /// The element type the packed bytes are labelled with.
    pub fn storage(&self) -> Storage {
        self.packing.storage
    }

    /// Sizes.
    pub fn geometry(&self) -> Geometry {
        Geometry { numel: self.shape.numel(), block_size: self.block_size }
    }

    /// Bytes of all parts together, the quant state's text included.
    pub fn byte_size(&self) -> u64 {
        self.parts().map(|p| p.bytes.len() as u64).sum()
    }

    /// The weight as kernels see it, borrowed from `self`.
    pub(crate) fn kernel_ref(&self) -> WeightRef {
        let mut codebook = [0.0; 16];
        codebook.copy_from_slice(self.quant_map.as_slice());
        let scales = match &self.absmax {
            Absmax::Plain(values) => Scales::Plain { absmax: values.as_slice().as_ptr() },
            Absmax::Double { codes, nested } => Scales::Double {
                codes: codes.as_slice().as_ptr(),
                map: nested.map.as_slice().as_ptr(),
                nested_absmax: nested.absmax.as_slice().as_ptr(),
                nested_shift: nested.block_size.trailing_zeros(),
                offset: nested.offset,
            },
        };
        WeightRef { codes: self.codes.as_slice().as_ptr(), codebook, block_size: self.block_size, scales }
    }
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weight {} {} {}", self.quant_type.name(), self.shape, self.state_json)
    }
}

//! Element types: the three float types that weights and activations come in, and every type a
//! safetensors file may hold.

use crate::error::{Error, Result, err};

/// A 16- or 32-bit float type: what is quantized, dequantized to, and multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
}

impl FloatType {
    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            FloatType::F32 => 4,
            FloatType::F16 | FloatType::Bf16 => 2,
        }
    }

    /// The name torch uses without its prefix: `float32`, `float16` or `bfloat16`.
    pub const fn torch_name(self) -> &'static str {
        match self {
            FloatType::F32 => "float32",
            FloatType::F16 => "float16",
            FloatType::Bf16 => "bfloat16",
        }
    }

    /// Reads `float32`, `torch.float32` and the short forms `f32`, `f16`, `bf16`, `fp16`, `fp32`.
    pub fn parse(name: &str) -> Result<Self> {
        match name.strip_prefix("torch.").unwrap_or(name) {
            "float32" | "f32" | "fp32" | "float" => Ok(FloatType::F32),
            "float16" | "f16" | "fp16" | "half" => Ok(FloatType::F16),
            "bfloat16" | "bf16" => Ok(FloatType::Bf16),
            other => Err(err!(DtypeUnsupported, "dtype \"{other}\": expected float32, float16 or bfloat16")),
        }
    }
}

/// An element type of a safetensors file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DType {
    F64,
    F32,
    F16,
    Bf16,
    F8E4m3,
    F8E5m2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl DType {
    const ALL: [(DType, &'static str, usize); 15] = [
        (DType::F64, "F64", 8),
        (DType::F32, "F32", 4),
        (DType::F16, "F16", 2),
        (DType::Bf16, "BF16", 2),
        (DType::F8E4m3, "F8_E4M3", 1),
        (DType::F8E5m2, "F8_E5M2", 1),
        (DType::I64, "I64", 8),
        (DType::I32, "I32", 4),
        (DType::I16, "I16", 2),
        (DType::I8, "I8", 1),
        (DType::U64, "U64", 8),
        (DType::U32, "U32", 4),
        (DType::U16, "U16", 2),
        (DType::U8, "U8", 1),
        (DType::Bool, "BOOL", 1),
    ];

    /// Bytes per element.
    pub fn size(self) -> usize {
        Self::ALL[self as usize].2
    }

    /// The name in a safetensors header, such as `BF16`.
    pub fn safetensors_name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The type of a safetensors header name.
    pub fn from_safetensors_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n, _)| *n == name).map(|(d, _, _)| *d)
    }

    /// The names of all types.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(_, name, _)| *name)
    }

    /// Whether tensors of this type are cast to the load dtype: F64, F32, F16 and BF16.
    pub fn is_castable(self) -> bool {
        self == DType::F64 || self.float().is_some()
    }

    /// The float type that can be quantized, if it is one.
    pub fn float(self) -> Option<FloatType> {
        match self {
            DType::F32 => Some(FloatType::F32),
            DType::F16 => Some(FloatType::F16),
            DType::Bf16 => Some(FloatType::Bf16),
            _ => None,
        }
    }
}

impl From<FloatType> for DType {
    fn from(f: FloatType) -> Self {
        match f {
            FloatType::F32 => DType::F32,
            FloatType::F16 => DType::F16,
            FloatType::Bf16 => DType::Bf16,
        }
    }
}

impl From<DType> for safetensors::Dtype {
    fn from(dtype: DType) -> Self {
        use safetensors::Dtype as S;
        match dtype {
            DType::F64 => S::F64,
            DType::F32 => S::F32,
            DType::F16 => S::F16,
            DType::Bf16 => S::BF16,
            DType::F8E4m3 => S::F8_E4M3,
            DType::F8E5m2 => S::F8_E5M2,
            DType::I64 => S::I64,
            DType::I32 => S::I32,
            DType::I16 => S::I16,
            DType::I8 => S::I8,
            DType::U64 => S::U64,
            DType::U32 => S::U32,
            DType::U16 => S::U16,
            DType::U8 => S::U8,
            DType::Bool => S::BOOL,
        }
    }
}

impl TryFrom<safetensors::Dtype> for DType {
    type Error = Error;

    fn try_from(dtype: safetensors::Dtype) -> Result<Self> {
        Self::ALL
            .iter()
            .map(|(ours, _, _)| *ours)
            .find(|ours| safetensors::Dtype::from(*ours) == dtype)
            .ok_or_else(|| err!(DtypeUnsupported, "dtype {dtype:?} is not known here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_rows_stand_at_their_own_discriminant() {
        for (i, (d, name, _)) in DType::ALL.iter().enumerate() {
            assert_eq!(*d as usize, i);
            assert_eq!(DType::from_safetensors_name(name), Some(*d));
        }
    }
}

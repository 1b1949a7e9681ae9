//! From one float type to another: exact where the target is wider, else rounded to nearest even.

use half::{bf16, f16};

use crate::dtype::{DType, FloatType};

/// A float type that may be stored: those that are computed with, and F64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredFloat {
    F64,
    Float(FloatType),
}

impl StoredFloat {
    /// `None` for what is not cast.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F64 => Some(StoredFloat::F64),
            _ => dtype.float().map(StoredFloat::Float),
        }
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            StoredFloat::F64 => 8,
            StoredFloat::Float(float) => float.size(),
        }
    }
}

/// Converts whole elements; `out` has room for as many. F64 goes by way of F32, as in torch.
pub(super) fn cast(source: &[u8], from: StoredFloat, out: &mut [u8], to: FloatType) {
    let from = match from {
        StoredFloat::F64 => {
            let values = source.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32);
            return store(values, out, to);
        }
        StoredFloat::Float(from) => from,
    };
    match from {
        FloatType::F32 => store(source.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)), out, to),
        FloatType::F16 => {
            store(source.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()), out, to)
        }
        FloatType::Bf16 => {
            store(source.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()), out, to)
        }
    }
}

fn store(values: impl Iterator<Item = f32>, out: &mut [u8], to: FloatType) {
    match to {
        FloatType::F32 => {
            out.as_chunks_mut().0.iter_mut().zip(values).for_each(|(o, v)| *o = v.to_le_bytes())
        }
        FloatType::F16 => {
            out.as_chunks_mut()
                .0
                .iter_mut()
                .zip(values)
                .for_each(|(o, v)| *o = f16::from_f32(v).to_le_bytes());
        }
        FloatType::Bf16 => {
            out.as_chunks_mut()
                .0
                .iter_mut()
                .zip(values)
                .for_each(|(o, v)| *o = bf16::from_f32(v).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bf16_of(value: f32) -> u16 {
        let mut out = [0; 2];
        cast(&value.to_le_bytes(), StoredFloat::Float(FloatType::F32), &mut out, FloatType::Bf16);
        u16::from_le_bytes(out)
    }

    #[test]
    fn rounds_to_nearest_even() {
        // Half-way between two bfloat16: to the even one, down and up; past the largest: infinity.
        assert_eq!(bf16_of(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(bf16_of(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(bf16_of(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert_eq!(bf16_of(f32::MAX), 0x7f80);
        assert!(bf16::from_bits(bf16_of(f32::NAN)).is_nan());
        let mut out = [0; 2];
        cast(&65520.0f32.to_le_bytes(), StoredFloat::Float(FloatType::F32), &mut out, FloatType::F16);
        assert_eq!(u16::from_le_bytes(out), 0x7c00, "halfway beyond the largest float16");
    }

    #[test]
    fn doubles_are_rounded_to_f32_first() {
        // Just above the middle of two bfloat16, by less than a float32 shows: to even, not up.
        let value = f64::from(f32::from_bits(0x3f80_8000)) + 1e-12;
        let mut out = [0; 2];
        cast(&value.to_le_bytes(), StoredFloat::F64, &mut out, FloatType::Bf16);
        assert_eq!(u16::from_le_bytes(out), 0x3f80);
        let mut out = [0; 8];
        let values: Vec<u8> = [1e300f64, -0.1].iter().flat_map(|v| v.to_le_bytes()).collect();
        cast(&values, StoredFloat::F64, &mut out, FloatType::F32);
        assert_eq!(out[..4], f32::INFINITY.to_le_bytes());
        assert_eq!(out[4..], (-0.1f32).to_le_bytes());
    }

    #[test]
    fn every_16_bit_value_survives_a_wider_type() {
        for from in [FloatType::F16, FloatType::Bf16] {
            let source: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let mut wide = vec![0; source.len() * 2];
            cast(&source, StoredFloat::Float(from), &mut wide, FloatType::F32);
            let mut back = vec![0; source.len()];
            cast(&wide, StoredFloat::Float(FloatType::F32), &mut back, from);
            for (a, b) in source.as_chunks().0.iter().zip(back.as_chunks().0) {
                let (a, b) = (u16::from_le_bytes(*a), u16::from_le_bytes(*b));
                // A NaN may become a quiet one.
                assert!(a == b || a & 0x7fff > 0x7c00 && b & 0x7fff > 0x7c00, "{a:x} {b:x}");
            }
        }
    }
}

//! Bytes a tensor takes before and after.

use crate::dtype::{DType, FloatType};
use crate::quant::{Geometry, QuantSpec};
use crate::shape::Shape;

/// Characters of `nested_offset` in a quant state, which are only known once the weight is quantized:
/// a float32 printed as a Python float has 17 to 22, mostly 19.
const NESTED_OFFSET_CHARS: u64 = 19;

/// Bytes of a tensor stored as it is.
pub fn plain(shape: &Shape, dtype: DType) -> u64 {
    shape.numel().saturating_mul(dtype.size() as u64)
}

/// Bytes of a 4-bit weight and all its statistics, file headers not counted. Exact, but for the
/// digits of `nested_offset` under double quantization (estimated: a few bytes per weight).
pub fn quantized(shape: &Shape, dtype: FloatType, spec: &QuantSpec) -> u64 {
    let geometry = Geometry { numel: shape.numel(), block_size: spec.block_size };
    let codes = geometry.packed_bytes().next_multiple_of(spec.storage.size() as u64);
    let quant_map = 16 * 4;
    let scales = if spec.double_quant {
        geometry.blocks() + 4 * geometry.nested_blocks() + 256 * 4
    } else {
        4 * geometry.blocks()
    };
    codes + scales + quant_map + state_json(shape, dtype, spec)
}

/// Length of the quant state's JSON.
fn state_json(shape: &Shape, dtype: FloatType, spec: &QuantSpec) -> u64 {
    let fields = format!(
        r#"{{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": {:?}"#,
        spec.quant_type.name(),
        spec.block_size.get(),
        dtype.torch_name(),
        shape.dims(),
    );
    let nested = r#", "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": "#;
    let nested = if spec.double_quant { nested.len() as u64 + NESTED_OFFSET_CHARS } else { 0 };
    fields.len() as u64 + nested + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_saved_weight() {
        // A 128x128 weight takes 9711 bytes on disk where its JSON has 171.
        let shape = Shape::new(&[128, 128]).unwrap();
        let spec = QuantSpec { double_quant: true, ..QuantSpec::default() };
        let json = state_json(&shape, FloatType::Bf16, &spec);
        assert!((168..=174).contains(&json), "{json}");
        assert_eq!(quantized(&shape, FloatType::Bf16, &spec) - json, 9711 - 171);
        let plain_spec = QuantSpec::default();
        let text = r#"{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [128, 128]}"#;
        assert_eq!(state_json(&shape, FloatType::Bf16, &plain_spec), text.len() as u64);
        assert_eq!(quantized(&shape, FloatType::Bf16, &plain_spec), 8192 + 4 * 256 + 64 + text.len() as u64);
    }
}

//! The JSON text of `quant_state.bitsandbytes__*`, byte for byte as Python's `json.dumps` writes
//! it: separators `", "` and `": "`, field order as inserted, floats as `repr`.

use serde::{Deserialize, Deserializer};

use super::{Absmax, Fields};
use crate::codebook::QuantType;
use crate::config::python_json::python_float;
use crate::dtype::FloatType;
use crate::error::{Result, err};
use crate::quant::BlockSize;
use crate::shape::Shape;

/// Longest text that is believed: real ones have under 300 bytes.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

/// What the text says, unchecked against the other parts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub quant_type: String,
    pub blocksize: u64,
    pub dtype: String,
    pub shape: Option<Vec<u64>>,
    pub nested_blocksize: Option<u64>,
    pub nested_dtype: Option<String>,
    #[serde(default, deserialize_with = "offset")]
    pub nested_offset: Option<f64>,
}

/// The text for a weight.
pub(super) fn write(fields: &Fields) -> String {
    let nested = match &fields.absmax {
        Absmax::Plain(_) => None,
        Absmax::Double { nested, .. } => Some((nested.block_size, nested.dtype.as_str(), nested.offset)),
    };
    let shape = fields.shape_known.then_some(fields.shape);
    text(fields.quant_type, fields.block_size, fields.dtype, shape, nested)
}

/// The text for these values; `nested` is block size, dtype and offset of the second level.
pub(crate) fn text(
    quant_type: QuantType,
    block_size: BlockSize,
    dtype: FloatType,
    shape: Option<Shape>,
    nested: Option<(u32, &str, f32)>,
) -> String {
    let shape = shape.map_or("null".to_owned(), |s| s.to_string());
    let mut text = format!(
        "{{\"quant_type\": \"{}\", \"blocksize\": {}, \"dtype\": \"{}\", \"shape\": {shape}",
        quant_type.name(),
        block_size.get(),
        dtype.torch_name(),
    );
    if let Some((nested_block_size, nested_dtype, offset)) = nested {
        text += &format!(
            ", \"nested_blocksize\": {nested_block_size}, \"nested_dtype\": \"{nested_dtype}\", \"nested_offset\": {}",
            python_float(f64::from(offset)),
        );
    }
    text + "}"
}

/// Reads the text of the part named `quant_state.bitsandbytes__<named>`.
pub(crate) fn read(bytes: &[u8], named: QuantType) -> Result<State> {
    if bytes.len() > MAX_BYTES {
        return Err(err!(Format, "quant_state: {} bytes, at most {MAX_BYTES} are taken", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| err!(Format, "quant_state: not UTF-8 ({e})"))?;
    let state: State = serde_json::from_str(&quote_special_floats(text))
        .map_err(|e| err!(Format, "quant_state: {e} in {}", shorten(text)))?;
    if state.quant_type != named.name() {
        return Err(err!(
            Format,
            "quant_state: quant_type \"{}\" in a part named bitsandbytes__{}",
            state.quant_type,
            named.name()
        ));
    }
    Ok(state)
}

/// Python writes `NaN`, `Infinity` and `-Infinity` bare, which JSON does not know. They can stand
/// only as the offset; quoted, [`Offset`] reads them.
fn quote_special_floats(text: &str) -> String {
    ["NaN", "Infinity", "-Infinity"].iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("\"nested_offset\": {name}"), &format!("\"nested_offset\": \"{name}\""))
    })
}

/// A float, or the quoted name of a special one.
fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Offset {
        Number(f64),
        Name(String),
    }
    match Offset::deserialize(deserializer)? {
        Offset::Number(value) => Ok(Some(value)),
        Offset::Name(name) => match name.as_str() {
            "NaN" => Ok(Some(f64::NAN)),
            "Infinity" => Ok(Some(f64::INFINITY)),
            "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
            other => Err(serde::de::Error::custom(format!("nested_offset \"{other}\" is not a number"))),
        },
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &str = r#"{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [96, 128], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": OFFSET}"#;

    #[test]
    fn special_offsets_are_read_as_python_writes_them() {
        let read = |offset: &str| {
            let text = NESTED.replace("OFFSET", offset);
            super::read(text.as_bytes(), QuantType::Nf4).unwrap().nested_offset.unwrap()
        };
        assert_eq!(read("0.052359264343976974"), 0.052359264343976974);
        assert_eq!(read("1e-05"), 1e-5);
        assert!(read("NaN").is_nan());
        assert_eq!(read("-Infinity"), f64::NEG_INFINITY);
    }

    #[test]
    fn malformed_texts_are_refused_with_words() {
        let fails = |text: &str, words: &str| {
            let error = super::read(text.as_bytes(), QuantType::Nf4).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        fails(&NESTED.replace("OFFSET", "0.5").replace("nf4", "fp4"), "bitsandbytes__nf4");
        fails(&NESTED.replace("OFFSET", "\"x\""), "nested_offset");
        fails(&NESTED.replace("OFFSET", "0.5, \"extra\": 1"), "extra");
        fails(r#"{"quant_type": "nf4"}"#, "blocksize");
        fails("[", "quant_state");
        fails(&"x".repeat(70_000), "at most");
    }
}

//! Configs as transformers writes and reads them: `BitsAndBytesConfig`, the parts of a model's
//! config.json that planning needs, and JSON laid out to the byte as Python lays it out.

mod bnb;
mod model;
mod output;
pub mod python_json;

pub use bnb::QuantizationConfig;
pub use model::{
    Quantized, architecture, find_integers, model_type, quantization_config, quantized, stated_dtype,
    text_config,
};
pub use output::{write_config_json, write_plain_config_json};
pub use python_json::python_float;

use serde_json::Value;

use crate::error::{Result, err};

/// The largest JSON text taken: a config.json has kilobytes, an index of a million tensors some
/// hundred megabytes.
pub const MAX_JSON_BYTES: usize = 256 << 20;

/// Parses JSON text, Python's NaN and Infinity included, refusing more than [`MAX_JSON_BYTES`]; nesting is limited to 128 levels. `what`
/// names the text in errors.
pub fn parse_json(text: &[u8], what: &str) -> Result<Value> {
    if text.len() > MAX_JSON_BYTES {
        return Err(err!(Format, "{what}: {} bytes of JSON: at most {MAX_JSON_BYTES} are read", text.len()));
    }
    python_json::parse(text).map_err(|e| err!(Format, "{what}: {e}"))
}

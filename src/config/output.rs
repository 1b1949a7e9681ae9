//! The config.json of an output directory.

use serde_json::{Map, Value, json};

use super::QuantizationConfig;
use super::python_json::indented;
use crate::dtype::FloatType;
use crate::error::{Result, err};

/// The complete config.json of a 4-bit checkpoint, final newline included: the source's keys as they
/// are, `quantization_config` set, the load dtype under both of its names (`dtype` is all that 5.x
/// writes, `torch_dtype` all that 4.x reads). Laid out as transformers does: keys sorted, two spaces.
pub fn write_config_json(
    source: &Value,
    quantization: &QuantizationConfig,
    dtype: FloatType,
) -> Result<String> {
    let mut config = without_quantization(source)?;
    config.insert("quantization_config".into(), quantization.to_value());
    Ok(finish(config, dtype))
}

/// The config.json of a checkpoint turned back to plain floats: no `quantization_config`, neither at
/// the top nor in a nested config, and the dtype of the tensors.
pub fn write_plain_config_json(source: &Value, dtype: FloatType) -> Result<String> {
    Ok(finish(without_quantization(source)?, dtype))
}

fn finish(mut config: Map<String, Value>, dtype: FloatType) -> String {
    for key in ["dtype", "torch_dtype"] {
        config.insert(key.into(), json!(dtype.torch_name()));
    }
    indented(&Value::Object(config), true) + "\n"
}

fn without_quantization(source: &Value) -> Result<Map<String, Value>> {
    let Value::Object(map) = source else {
        return Err(err!(Format, "config.json: expected a JSON object at the top"));
    };
    let mut map = map.clone();
    for key in ["quantization_config", "compression_config"] {
        map.shift_remove(key);
        for nested in map.values_mut().filter_map(Value::as_object_mut) {
            nested.shift_remove(key);
        }
    }
    Ok(map)
}

//! What a model's config.json says that planning and loading need.

use serde_json::Value;

use crate::dtype::FloatType;
use crate::error::{Error, Result, err};

/// Keys under which a composite model keeps the config of its language model, in the order in which
/// transformers' `get_text_config(decoder=True)` looks for them.
const TEXT_CONFIGS: [&str; 7] = [
    "decoder",
    "generator",
    "text_config",
    "language_config",
    "llm_config",
    "text_encoder",
    "thinker_config",
];

/// The nested config of the language model, if the model is composite.
pub fn text_config(config: &Value) -> Option<&Value> {
    TEXT_CONFIGS.iter().filter_map(|key| config.get(key)).find(|nested| nested.is_object())
}

/// `model_type`.
pub fn model_type(config: &Value) -> Option<&str> {
    config.get("model_type").and_then(Value::as_str)
}

/// The first of `architectures`: the class that saved the checkpoint.
pub fn architecture(config: &Value) -> Option<&str> {
    config.get("architectures")?.get(0)?.as_str()
}

/// The value of an integer key, wherever in the config it stands (nested configs included).
pub fn find_integers<'a>(config: &'a Value, key: &'a str) -> Box<dyn Iterator<Item = u64> + 'a> {
    let Value::Object(map) = config else { return Box::new(std::iter::empty()) };
    let own = map.get(key).and_then(Value::as_u64).into_iter();
    Box::new(own.chain(map.values().flat_map(move |nested| find_integers(nested, key))))
}

/// The dtype that a config states: `dtype` (5.x) before `torch_dtype` (4.x), the model's own before
/// that of its nested text config. `None` where it states none (or "auto").
pub fn stated_dtype(config: &Value) -> Result<Option<FloatType>> {
    for place in [Some(config), text_config(config)].into_iter().flatten() {
        for key in ["dtype", "torch_dtype"] {
            match place.get(key) {
                Some(Value::String(name)) if name != "auto" => {
                    let dtype = FloatType::parse(name).map_err(|e| match e {
                        Error::DtypeUnsupported(words) => {
                            err!(DtypeUnsupported, "config.json: {key}: {words}; name the dtype to load in")
                        }
                        other => other,
                    })?;
                    return Ok(Some(dtype));
                }
                // 5.x once wrote one dtype per sub-config; the entry "" is the model's own.
                Some(Value::Object(per_part)) => {
                    if let Some(name) = per_part.get("").and_then(Value::as_str) {
                        return FloatType::parse(name).map(Some);
                    }
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

/// How a checkpoint is already quantized, as its config tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quantized {
    /// bitsandbytes, 4 bits.
    Bnb4bit,
    /// bitsandbytes, 8 bits (LLM.int8()).
    Bnb8bit,
    /// Any other method, under its `quant_method` name (`gptq`, `awq`, `fp8`, `compressed-tensors`, …).
    Other(String),
}

impl std::fmt::Display for Quantized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Quantized::Bnb4bit => write!(f, "bitsandbytes 4-bit"),
            Quantized::Bnb8bit => write!(f, "bitsandbytes 8-bit"),
            Quantized::Other(method) => write!(f, "{method}"),
        }
    }
}

/// The `quantization_config` of a model, also inside its text config; `compression_config` is the
/// old name under which llm-compressor wrote its own.
pub fn quantization_config(config: &Value) -> Option<&Value> {
    [Some(config), text_config(config)]
        .into_iter()
        .flatten()
        .flat_map(|place| ["quantization_config", "compression_config"].map(|key| place.get(key)))
        .flatten()
        .find(|found| !found.is_null())
}

/// Recognizes how a checkpoint is already quantized. The load flags win over `quant_method`, as in
/// transformers; `quant_method` "bitsandbytes" without a flag counts as 4-bit, as vLLM reads it.
pub fn quantized(config: &Value) -> Option<Quantized> {
    let found = quantization_config(config)?;
    let flag = |key: &str| found.get(key).and_then(Value::as_bool).unwrap_or(false);
    if flag("load_in_4bit") {
        return Some(Quantized::Bnb4bit);
    }
    if flag("load_in_8bit") {
        return Some(Quantized::Bnb8bit);
    }
    Some(match found.get("quant_method").and_then(Value::as_str) {
        Some("bitsandbytes" | "bitsandbytes_4bit") => Quantized::Bnb4bit,
        Some("bitsandbytes_8bit") => Quantized::Bnb8bit,
        Some(method) => Quantized::Other(method.to_owned()),
        // AutoAWQ and AutoGPTQ configs of old name no method.
        None if found.get("desc_act").is_some() => Quantized::Other("gptq".into()),
        None if found.get("zero_point").is_some() => Quantized::Other("awq".into()),
        None => Quantized::Other("an unknown method (quantization_config without quant_method)".into()),
    })
}

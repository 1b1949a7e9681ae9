//! The 4-bit side of transformers' `BitsAndBytesConfig`.
//!
//! Fields, defaults and the wording of errors are those of transformers 5.23 (4.41 to 4.57 write
//! and read the same); where this library takes less than torch does, the error says what it takes.

use serde_json::{Map, Value, json};

use crate::codebook::{QuantType, Rule};
use crate::dtype::FloatType;
use crate::error::{Result, err};
use crate::quant::{BlockSize, QuantSpec, Storage};

/// Everything a `quantization_config` of `quant_method` "bitsandbytes" says about 4-bit weights.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationConfig {
    /// `load_in_4bit`. Without it transformers takes the model as not quantized.
    pub load_in_4bit: bool,
    /// `bnb_4bit_quant_type`.
    pub quant_type: QuantType,
    /// `bnb_4bit_use_double_quant`.
    pub double_quant: bool,
    /// `bnb_4bit_compute_dtype`: what a layer multiplies in. It does not decide any stored byte.
    pub compute_dtype: FloatType,
    /// `bnb_4bit_quant_storage`.
    pub quant_storage: Storage,
    /// `llm_int8_skip_modules`; `None` leaves it to the reader's own detection.
    pub skip_modules: Option<Vec<String>>,
    /// `llm_int8_threshold`; of no use for 4-bit weights, kept because readers expect it.
    pub threshold: f64,
    /// `llm_int8_enable_fp32_cpu_offload`.
    pub enable_fp32_cpu_offload: bool,
    /// `llm_int8_has_fp16_weight`; of no use for 4-bit weights.
    pub has_fp16_weight: bool,
    /// `fourbit_experts` is `"fused4bit"`: fused experts are 4-bit weights of three dimensions, which this
    /// library alone reads. A key of its own, written only if it holds; other readers ignore it.
    pub fused_experts: bool,
    /// Keys of the source that mean nothing here, in its order. They are not written again.
    pub unused_keys: Vec<String>,
}

impl Default for QuantizationConfig {
    /// The constructor's defaults: FP4, no double quantization, compute in float32, stored as uint8,
    /// not quantized at all until `load_in_4bit` is set.
    fn default() -> Self {
        QuantizationConfig {
            load_in_4bit: false,
            quant_type: QuantType::Fp4,
            double_quant: false,
            compute_dtype: FloatType::F32,
            quant_storage: Storage::U8,
            skip_modules: None,
            threshold: 6.0,
            enable_fp32_cpu_offload: false,
            has_fp16_weight: false,
            fused_experts: false,
            unused_keys: Vec::new(),
        }
    }
}

const BOTH_FLAGS: &str =
    "load_in_4bit and load_in_8bit are both True, but only one can be used at the same time";

impl QuantizationConfig {
    /// The config that describes weights quantized as `spec` says.
    pub fn from_spec(spec: &QuantSpec, compute_dtype: FloatType) -> Self {
        QuantizationConfig {
            load_in_4bit: true,
            quant_type: spec.quant_type,
            double_quant: spec.double_quant,
            compute_dtype,
            quant_storage: spec.storage,
            ..Self::default()
        }
    }

    /// How to quantize under this config. Block size and rule are no part of it.
    pub fn spec(&self, block_size: BlockSize, rule: Rule) -> QuantSpec {
        QuantSpec {
            quant_type: self.quant_type,
            block_size,
            double_quant: self.double_quant,
            rule,
            storage: self.quant_storage,
        }
    }

    /// `quantization_method()`: `nf4` or `fp4`, or `None` where nothing is to be quantized.
    pub fn quantization_method(&self) -> Option<&'static str> {
        self.load_in_4bit.then(|| self.quant_type.name())
    }

    /// Reads a JSON object, as `BitsAndBytesConfig(**object)` does.
    pub fn from_json(text: &str) -> Result<Self> {
        Self::from_value(&super::parse_json(text.as_bytes(), "quantization_config")?)
    }

    /// Reads a parsed JSON object; every missing key takes the constructor's default.
    pub fn from_value(value: &Value) -> Result<Self> {
        let Value::Object(map) = value else {
            return Err(err!(
                InvalidArgument,
                "quantization_config must be a JSON object, got {}",
                kind(value)
            ));
        };
        if truthy(map.get("load_in_4bit")) && truthy(map.get("load_in_8bit")) {
            return Err(err!(InvalidArgument, "{BOTH_FLAGS}"));
        }
        let mut config = Self::default();
        let mut eight_bit = false;
        let mut method = None;
        for (key, value) in map {
            match key.as_str() {
                "load_in_4bit" => config.load_in_4bit = boolean(key, value)?,
                "load_in_8bit" => eight_bit = boolean(key, value)?,
                "llm_int8_threshold" => config.threshold = float(key, value)?,
                "llm_int8_skip_modules" => config.skip_modules = names(key, value)?,
                "llm_int8_enable_fp32_cpu_offload" => config.enable_fp32_cpu_offload = boolean(key, value)?,
                "llm_int8_has_fp16_weight" => config.has_fp16_weight = boolean(key, value)?,
                "bnb_4bit_compute_dtype" => config.compute_dtype = compute_dtype(key, value)?,
                "bnb_4bit_quant_type" => config.quant_type = quant_type(key, value)?,
                "bnb_4bit_use_double_quant" => config.double_quant = boolean(key, value)?,
                "bnb_4bit_quant_storage" => config.quant_storage = quant_storage(key, value)?,
                "quant_method" => method = Some(value),
                "fourbit_experts" => config.fused_experts = value == "fused4bit",
                // Written by `to_dict` beside the public flags, ignored when read.
                "_load_in_4bit" | "_load_in_8bit" => {}
                _ => config.unused_keys.push(key.clone()),
            }
        }
        check_method(method, config.load_in_4bit)?;
        if eight_bit {
            return Err(err!(
                Unsupported,
                "load_in_8bit: 8-bit quantization (LLM.int8()) is not supported, only 4-bit: \
                 set load_in_4bit to true and load_in_8bit to false"
            ));
        }
        Ok(config)
    }

    /// The 13 keys that `to_dict` writes, sorted as they appear in a config.json.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            map.insert(key.to_owned(), value);
        };
        put("_load_in_4bit", json!(self.load_in_4bit));
        put("_load_in_8bit", json!(false));
        put("bnb_4bit_compute_dtype", json!(self.compute_dtype.torch_name()));
        put("bnb_4bit_quant_storage", json!(self.quant_storage.torch_name()));
        put("bnb_4bit_quant_type", json!(self.quant_type.name()));
        put("bnb_4bit_use_double_quant", json!(self.double_quant));
        put("llm_int8_enable_fp32_cpu_offload", json!(self.enable_fp32_cpu_offload));
        put("llm_int8_has_fp16_weight", json!(self.has_fp16_weight));
        put("llm_int8_skip_modules", json!(self.skip_modules));
        put("llm_int8_threshold", json!(self.threshold));
        put("load_in_4bit", json!(self.load_in_4bit));
        put("load_in_8bit", json!(false));
        put("quant_method", json!("bitsandbytes"));
        if self.fused_experts {
            map.insert("fourbit_experts".to_owned(), json!("fused4bit"));
        }
        Value::Object(map)
    }

    /// [`Self::to_value`] as text: two spaces of indent, as inside a config.json.
    pub fn to_json(&self) -> String {
        super::python_json::indented(&self.to_value(), false)
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// Python's idea of true: the check for both flags comes before their types are looked at.
fn truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(b)) => *b,
        Some(Value::Number(n)) => n.as_f64() != Some(0.0),
        Some(Value::String(s)) => !s.is_empty(),
        Some(Value::Array(a)) => !a.is_empty(),
        Some(Value::Object(o)) => !o.is_empty(),
    }
}

fn boolean(key: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| err!(InvalidArgument, "{key} must be a boolean, got {}", kind(value)))
}

/// A Python float: `6` is an int and refused, as transformers refuses it.
fn float(key: &str, value: &Value) -> Result<f64> {
    match value {
        Value::Number(n) if n.is_f64() => n.as_f64(),
        _ => None,
    }
    .ok_or_else(|| err!(InvalidArgument, "{key} must be a float, got {} (write 6.0, not 6)", kind(value)))
}

/// A list of strings; a bare string is a list of one.
fn names(key: &str, value: &Value) -> Result<Option<Vec<String>>> {
    let wrong = || err!(InvalidArgument, "{key} must be a list of strings, got {}", kind(value));
    match value {
        Value::Null => Ok(None),
        Value::String(one) => Ok(Some(vec![one.clone()])),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<Vec<_>>>()
            .map(Some),
        _ => Err(wrong()),
    }
}

fn compute_dtype(key: &str, value: &Value) -> Result<FloatType> {
    match value {
        Value::Null => Ok(FloatType::F32),
        Value::String(name) => FloatType::parse(name).map_err(|e| e.in_place(key)),
        _ => Err(err!(InvalidArgument, "{key} must be a string or a torch.dtype, got {}", kind(value))),
    }
}

fn quant_type(key: &str, value: &Value) -> Result<QuantType> {
    match value {
        Value::String(name) => match name.as_str() {
            "nf4" => Ok(QuantType::Nf4),
            "fp4" => Ok(QuantType::Fp4),
            other => Err(err!(
                InvalidArgument,
                "{key}: 4-bit quantization data type \"{other}\" is not implemented: \
                 expected \"nf4\" or \"fp4\""
            )),
        },
        _ => Err(err!(InvalidArgument, "{key} must be a string, got {}", kind(value))),
    }
}

fn quant_storage(key: &str, value: &Value) -> Result<Storage> {
    let name = match value {
        Value::Null => return Ok(Storage::U8),
        Value::String(name) => name.as_str(),
        _ => {
            return Err(err!(
                InvalidArgument,
                "{key} must be a string or a torch.dtype, got {}",
                kind(value)
            ));
        }
    };
    match name {
        "uint8" => Ok(Storage::U8),
        "float16" => Ok(Storage::F16),
        "bfloat16" => Ok(Storage::Bf16),
        "float32" => Ok(Storage::F32),
        "int8" | "float64" => Err(err!(
            Unsupported,
            "{key} \"{name}\" is not supported: expected uint8, float16, bfloat16 or float32"
        )),
        _ => Err(err!(
            InvalidArgument,
            "`{key}` must be a valid string (one of 'float16', 'float32', 'int8', 'uint8', 'float64', \
             'bfloat16'), got \"{name}\""
        )),
    }
}

/// `load_in_4bit` wins over `quant_method`; without it any other method is a stranger.
fn check_method(method: Option<&Value>, load_in_4bit: bool) -> Result<()> {
    match method {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(name)) if load_in_4bit || name == "bitsandbytes" => Ok(()),
        Some(_) if load_in_4bit => Ok(()),
        Some(other) => Err(err!(
            Unsupported,
            "Unknown quantization type, got {} - supported types are: [\"bitsandbytes\"]",
            other.as_str().map_or_else(|| kind(other), str::to_owned)
        )),
    }
}

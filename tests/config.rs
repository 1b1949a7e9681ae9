//! `BitsAndBytesConfig` and config.json against what transformers says and writes.

use fourbit::codebook::{QuantType, Rule};
use fourbit::config::{
    QuantizationConfig, Quantized, parse_json, quantized, stated_dtype, write_config_json,
    write_plain_config_json,
};
use fourbit::dtype::FloatType;
use fourbit::quant::{BlockSize, QuantSpec, Storage};
use serde_json::{Value, json};

fn error(config: Value) -> String {
    QuantizationConfig::from_value(&config).unwrap_err().to_string()
}

#[test]
fn defaults_are_the_constructors() {
    let config = QuantizationConfig::from_json("{}").unwrap();
    assert_eq!(config, QuantizationConfig::default());
    assert_eq!(config.quant_type, QuantType::Fp4);
    assert_eq!(config.compute_dtype, FloatType::F32);
    assert_eq!(config.quant_storage, Storage::U8);
    assert!(!config.load_in_4bit && !config.double_quant);
    assert_eq!((config.threshold, config.skip_modules), (6.0, None));
}

#[test]
fn every_field_is_read() {
    let config = QuantizationConfig::from_value(&json!({
        "load_in_4bit": true, "load_in_8bit": false, "_load_in_4bit": true, "_load_in_8bit": false,
        "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true, "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": "float16", "llm_int8_skip_modules": ["lm_head"], "llm_int8_threshold": 5.5,
        "llm_int8_enable_fp32_cpu_offload": true, "llm_int8_has_fp16_weight": true,
        "quant_method": "bitsandbytes", "some_new_key": 3,
    }))
    .unwrap();
    let expected = QuantizationConfig {
        load_in_4bit: true,
        quant_type: QuantType::Nf4,
        double_quant: true,
        compute_dtype: FloatType::Bf16,
        quant_storage: Storage::F16,
        skip_modules: Some(vec!["lm_head".into()]),
        threshold: 5.5,
        enable_fp32_cpu_offload: true,
        has_fp16_weight: true,
        fused_experts: false,
        unused_keys: vec!["some_new_key".into()],
    };
    assert_eq!(config, expected);
    assert_eq!(config.quantization_method(), Some("nf4"));
    let spec = config.spec(BlockSize::DEFAULT, Rule::BnbCpu);
    assert!(spec.double_quant && spec.quant_type == QuantType::Nf4 && spec.storage == Storage::F16);
    let one = QuantizationConfig::from_value(&json!({"llm_int8_skip_modules": "lm_head"})).unwrap();
    assert_eq!(one.skip_modules, Some(vec!["lm_head".to_owned()]));
    let back = QuantizationConfig::from_json(&config.to_json()).unwrap();
    assert_eq!(back, QuantizationConfig { unused_keys: Vec::new(), ..config });
}

#[test]
fn errors_have_transformers_words() {
    let cases = [
        (json!({"load_in_4bit": 1}), "load_in_4bit must be a boolean"),
        (json!({"load_in_4bit": null}), "load_in_4bit must be a boolean"),
        (json!({"load_in_8bit": "no"}), "load_in_8bit must be a boolean"),
        (json!({"llm_int8_threshold": 6}), "llm_int8_threshold must be a float"),
        (json!({"llm_int8_threshold": null}), "llm_int8_threshold must be a float"),
        (json!({"llm_int8_skip_modules": 3}), "llm_int8_skip_modules must be a list of strings"),
        (json!({"llm_int8_skip_modules": ["a", 3]}), "llm_int8_skip_modules must be a list of strings"),
        (
            json!({"llm_int8_enable_fp32_cpu_offload": 0}),
            "llm_int8_enable_fp32_cpu_offload must be a boolean",
        ),
        (json!({"llm_int8_has_fp16_weight": 0}), "llm_int8_has_fp16_weight must be a boolean"),
        (json!({"bnb_4bit_compute_dtype": 16}), "bnb_4bit_compute_dtype must be a string or a torch.dtype"),
        (json!({"bnb_4bit_quant_type": 4}), "bnb_4bit_quant_type must be a string"),
        (json!({"bnb_4bit_use_double_quant": "yes"}), "bnb_4bit_use_double_quant must be a boolean"),
        (json!({"bnb_4bit_quant_storage": 8}), "bnb_4bit_quant_storage must be a string or a torch.dtype"),
        (
            json!({"bnb_4bit_quant_storage": "uint4"}),
            "`bnb_4bit_quant_storage` must be a valid string (one of 'float16', 'float32', 'int8', 'uint8', \
             'float64', 'bfloat16')",
        ),
        (
            json!({"load_in_4bit": true, "load_in_8bit": true}),
            "load_in_4bit and load_in_8bit are both True, but only one can be used at the same time",
        ),
    ];
    for (config, words) in cases {
        let got = error(config);
        assert!(got.starts_with(words), "{got}");
    }
    let eight = error(json!({"load_in_8bit": true, "quant_method": "bitsandbytes"}));
    assert!(eight.contains("8-bit") && eight.contains("not supported"), "{eight}");
    assert!(error(json!({"bnb_4bit_quant_type": "nf5"})).contains("\"nf5\""));
    assert!(error(json!({"bnb_4bit_compute_dtype": "int4"})).contains("bnb_4bit_compute_dtype"));
    assert!(error(json!({"bnb_4bit_quant_storage": "int8"})).contains("not supported"));
    assert!(error(json!([])).contains("JSON object"));
    assert!(QuantizationConfig::from_json("{\"a\":").is_err());
}

#[test]
fn the_load_flag_wins_over_the_method() {
    let config = QuantizationConfig::from_value(&json!({"load_in_4bit": true, "quant_method": "gptq"}));
    assert!(config.unwrap().load_in_4bit);
    let words = error(json!({"quant_method": "gptq", "bits": 4}));
    assert!(words.starts_with("Unknown quantization type, got gptq"), "{words}");
    // The method alone does not switch anything on.
    let alone = QuantizationConfig::from_value(&json!({"quant_method": "bitsandbytes"})).unwrap();
    assert_eq!(alone.quantization_method(), None);
}

const SAVED: &str = include_str!("oracle/config_saved_by_5.23.json");

#[test]
fn config_json_is_written_to_the_byte() {
    let spec = QuantSpec { double_quant: true, ..QuantSpec::default() };
    let quantization = QuantizationConfig::from_spec(&spec, FloatType::Bf16);
    let mut source = parse_json(SAVED.as_bytes(), "config.json").unwrap();
    source.as_object_mut().unwrap().shift_remove("quantization_config");
    let ours = write_config_json(&source, &quantization, FloatType::Bf16).unwrap();
    // 5.x writes `dtype` only; 4.x reads `torch_dtype` only.
    let expected = SAVED.replace(
        "  \"transformers_version\"",
        "  \"torch_dtype\": \"bfloat16\",\n  \"transformers_version\"",
    );
    assert_eq!(ours, expected);

    let saved = parse_json(SAVED.as_bytes(), "config.json").unwrap();
    assert_eq!(quantized(&saved), Some(Quantized::Bnb4bit));
    assert_eq!(stated_dtype(&saved).unwrap(), Some(FloatType::Bf16));
    let read = QuantizationConfig::from_value(&saved["quantization_config"]).unwrap();
    assert_eq!(read, quantization);
    let plain = write_plain_config_json(&saved, FloatType::F16).unwrap();
    let plain = parse_json(plain.as_bytes(), "config.json").unwrap();
    assert!(plain.get("quantization_config").is_none());
    assert_eq!(stated_dtype(&plain).unwrap(), Some(FloatType::F16));
}

#[test]
fn what_the_source_says_is_kept() {
    let source = r#"{"z": [0.0, Infinity], "é": 1e-05, "text_config": {"b": {}, "a": [], "quantization_config": {}}, "big": 18446744073709551615, "torch_dtype": "float16"}"#;
    let source = parse_json(source.as_bytes(), "config.json").unwrap();
    let text = write_plain_config_json(&source, FloatType::F32).unwrap();
    let expected = "{\n  \"big\": 18446744073709551615,\n  \"dtype\": \"float32\",\n  \"text_config\": {\n    \"a\": [],\n    \"b\": {}\n  },\n  \"torch_dtype\": \"float32\",\n  \"z\": [\n    0.0,\n    Infinity\n  ],\n  \"\\u00e9\": 1e-05\n}\n";
    assert_eq!(text, expected);
    assert!(write_plain_config_json(&json!([]), FloatType::F32).is_err());
}

#[test]
fn other_methods_are_recognized() {
    let cases = [
        (json!({"quant_method": "gptq"}), Quantized::Other("gptq".into())),
        (json!({"quant_method": "bitsandbytes"}), Quantized::Bnb4bit),
        (json!({"load_in_4bit": true, "quant_method": "gptq"}), Quantized::Bnb4bit),
        (json!({"load_in_8bit": true}), Quantized::Bnb8bit),
        (json!({"bits": 4, "desc_act": false}), Quantized::Other("gptq".into())),
        (json!({"w_bit": 4, "zero_point": true}), Quantized::Other("awq".into())),
    ];
    for (quantization, expected) in cases {
        assert_eq!(quantized(&json!({"quantization_config": quantization})), Some(expected));
    }
    assert_eq!(quantized(&json!({"quantization_config": null})), None);
    let old = json!({"compression_config": {"quant_method": "compressed-tensors"}});
    assert_eq!(quantized(&old).unwrap().to_string(), "compressed-tensors");
}

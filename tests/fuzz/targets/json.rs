//! Texts that come from files.

use fourbit::checkpoint::header::{self, Header};
use fourbit::checkpoint::index::Index;
use fourbit::config::{self, QuantizationConfig, parse_json};
use fourbit::device_map::{
    DeviceMap, DeviceMapOptions, Flavour, MaxMemory, Sizing, Strategy, model_of_plan, place,
};
use fourbit::dtype::{DType, FloatType};
use fourbit::plan::{Experts, Plan, PlanOptions, Profile, SourceTensor};
use fourbit::quant::QuantSpec;
use fourbit::shape::Shape;

use super::operands::Input;

/// A safetensors header with as much data behind it as the first two bytes say. What is accepted
/// must be accepted by the safetensors library in the same sense, and come back when written.
pub fn header(data: &[u8]) {
    let mut input = Input(data);
    let behind = u64::from(input.word());
    let json = input.0;
    let Ok(ours) = Header::parse(json, 8 + json.len() as u64 + behind) else { return };

    let mut image = (json.len() as u64).to_le_bytes().to_vec();
    image.extend_from_slice(json);
    image.resize(image.len() + behind as usize, 0);
    assert_eq!(Header::from_image(&image).unwrap(), ours);
    let theirs = match safetensors::SafeTensors::deserialize(&image) {
        Ok(theirs) => theirs,
        // In a field from the future, which is passed over here without looking at numbers.
        Err(e) if e.to_string().contains("number out of range") => return,
        Err(e) => panic!("the safetensors library refuses it: {e}"),
    };
    assert_eq!(theirs.len(), ours.tensors.len());
    let start = 8 + json.len() as u64;
    for t in &ours.tensors {
        let same = theirs.tensor(&t.name).expect("the same names");
        assert_eq!(same.data().len() as u64, t.range.end - t.range.start);
        assert!(t.range.start >= start && t.range.end <= image.len() as u64);
    }

    let tensors = ours
        .tensors
        .iter()
        .map(|t| (t.name.as_str(), t.dtype, &t.shape, t.range.start - start..t.range.end - start));
    let mut written = header::encode(&ours.metadata, tensors).unwrap();
    let written_start = written.len() as u64;
    written.resize(written.len() + behind as usize, 0);
    let again = Header::from_image(&written).unwrap();
    assert_eq!(again.metadata, ours.metadata);
    for (a, b) in again.tensors.iter().zip(&ours.tensors) {
        assert_eq!((&a.name, a.dtype, a.shape), (&b.name, b.dtype, b.shape));
        assert_eq!(a.range.start - written_start, b.range.start - start);
    }
}

/// An index of shards: what is accepted names plain files only, and every tensor's file.
pub fn index(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(index) = Index::parse(text) else { return };
    for file in &index.files {
        let path = std::path::Path::new(file);
        assert_eq!(path.components().count(), 1, "{file:?} leaves the directory");
        assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(file.as_str()));
        assert!(file.ends_with(".safetensors"));
    }
    assert!(index.weight_map.values().all(|file| *file < index.files.len()));
}

fn tensors(input: &mut Input<'_>) -> Vec<SourceTensor> {
    const NAMES: [&str; 16] = [
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.mlp.experts.3.up_proj.weight",
        "model.layers.0.block_sparse_moe.gate.weight",
        "model.layers.1.input_layernorm.weight",
        "transformer.h.0.attn.c_attn.weight",
        "transformer.wte.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "shared.weight",
        "backbone.layers.0.mixer.dt_proj.weight",
        "cls.seq_relationship.weight",
        "bert.pooler.dense.weight",
        "model.norm.weight",
        "lm_head.weight",
    ];
    let dims: [&[u64]; 6] = [&[64, 64], &[96, 128], &[64], &[4, 64, 32], &[], &[7, 0]];
    let types = [DType::F16, DType::Bf16, DType::F32, DType::I64];
    let present = input.word();
    (0..16)
        .filter(|i| present >> i & 1 == 1)
        .map(|i| SourceTensor {
            name: NAMES[i].to_owned(),
            dtype: input.pick(&types),
            shape: Shape::new(input.pick(&dims)).unwrap(),
        })
        .collect()
}

/// A config.json: read as a quantization config and planned with, under options from the first bytes.
pub fn config(data: &[u8]) {
    let mut input = Input(data);
    let profile = input.pick(&[Profile::Portable, Profile::V5, Profile::V4, Profile::V441]);
    let experts = input.pick(&[Experts::Auto, Experts::SixteenBit, Experts::FourBit]);
    let tensors = tensors(&mut input);
    let Ok(value) = parse_json(input.0, "config.json") else { return };
    let _ = config::quantized(&value);
    let _ = config::stated_dtype(&value);
    let _ = config::architecture(&value);
    if let Ok(read) = QuantizationConfig::from_value(&value) {
        let again = QuantizationConfig::from_json(&read.to_json()).expect("what was written is read");
        assert_eq!(again.to_json(), read.to_json());
    }
    let options = PlanOptions { profile, experts, ..Default::default() };
    let Ok(plan) = Plan::new(&value, &tensors, &options) else { return };
    assert_eq!(plan.entries.len(), tensors.len(), "every tensor has one entry");
    for entry in &plan.entries {
        assert!(!entry.reason.is_empty(), "{} without a reason", entry.source.name);
    }
    let text = plan.to_json();
    assert_eq!(Plan::from_json(&text).expect("a plan reads what it writes").to_json(), text);
    let spec = QuantSpec::default();
    let quantization = QuantizationConfig::from_spec(&spec, FloatType::Bf16);
    if let Ok(text) = config::write_config_json(&value, &quantization, FloatType::Bf16) {
        parse_json(text.as_bytes(), "the output").expect("the output config is JSON");
    }
    let _ = model_of_plan(&value, &plan, &spec);
}

/// A plan as JSON: what is accepted is written and read again alike.
pub fn plan(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(plan) = Plan::from_json(text) else { return };
    let written = plan.to_json();
    assert_eq!(Plan::from_json(&written).expect("a plan reads what it writes").to_json(), written);
    let _ = plan.totals();
    let _ = model_of_plan(&serde_json::json!({"model_type": plan.model_type}), &plan, &QuantSpec::default());
}

/// A device map, or memory limits (after a line break), for a small model.
pub fn device_map(data: &[u8]) {
    let mut input = Input(data);
    let flavour = input.pick(&[Flavour::V523, Flavour::V457, Flavour::V441]);
    let which = input.byte();
    let (map, memory) = match input.0.iter().position(|b| *b == b'\n') {
        Some(at) => (&input.0[..at], &input.0[at + 1..]),
        None => (input.0, &[][..]),
    };
    let explicit = parse_json(map, "device_map").ok().and_then(|v| DeviceMap::from_value(&v).ok());
    let max_memory = std::str::from_utf8(memory).ok().and_then(|text| MaxMemory::parse(text).ok());
    if let Some(map) = &explicit {
        assert_eq!(&DeviceMap::from_value(&map.to_value()).unwrap(), map);
    }
    let strategy = match explicit {
        Some(map) => Strategy::Explicit(map),
        None => [Strategy::Balanced, Strategy::BalancedLow0, Strategy::Sequential, Strategy::Fit]
            [usize::from(which % 4)]
        .clone(),
    };
    let config = serde_json::json!({"model_type": "llama", "num_hidden_layers": 2});
    let tensors = tensors(&mut Input(&[0x47, 0xc0]));
    let plan = Plan::new(&config, &tensors, &PlanOptions::default()).unwrap();
    let Ok(model) = model_of_plan(&config, &plan, &QuantSpec::default()) else { return };
    let options = DeviceMapOptions { strategy, max_memory, sizing: Sizing::Honest, offload: which & 16 != 0 };
    if let Ok(placement) = place(&model, flavour, &options) {
        assert!(!placement.devices.is_empty() || placement.map.entries().is_empty());
    }
}

//! What a plan does and says, case by case.

use fourbit::dtype::{DType, FloatType};
use fourbit::plan::{Action, Experts, Mode, Plan, PlanEntry, PlanOptions, Profile, SourceTensor};
use fourbit::quant::QuantSpec;
use fourbit::shape::Shape;
use serde_json::{Value, json};

fn tensor(name: &str, shape: &[u64]) -> SourceTensor {
    SourceTensor { name: name.into(), dtype: DType::Bf16, shape: Shape::new(shape).unwrap() }
}

fn linears(prefix: &str, names: &[&str]) -> Vec<SourceTensor> {
    names.iter().map(|n| tensor(&format!("{prefix}{n}.weight"), &[64, 64])).collect()
}

const ATTENTION: [&str; 4] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
const MLP: [&str; 3] = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

fn llama() -> (Value, Vec<SourceTensor>) {
    let config = json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
        "torch_dtype": "bfloat16", "vocab_size": 2000, "tie_word_embeddings": false});
    let mut tensors = vec![tensor("model.embed_tokens.weight", &[2000, 64])];
    for layer in 0..2 {
        let prefix = format!("model.layers.{layer}.");
        tensors.extend(linears(&prefix, &ATTENTION));
        tensors.extend(linears(&prefix, &MLP));
        tensors.push(tensor(&format!("{prefix}input_layernorm.weight"), &[64]));
    }
    tensors.push(tensor("lm_head.weight", &[2000, 64]));
    (config, tensors)
}

fn mixtral() -> (Value, Vec<SourceTensor>) {
    let config = json!({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"],
        "torch_dtype": "bfloat16", "num_local_experts": 2, "vocab_size": 2000});
    let mut tensors = vec![tensor("model.embed_tokens.weight", &[2000, 64])];
    tensors.extend(linears("model.layers.0.", &ATTENTION));
    tensors.push(tensor("model.layers.0.block_sparse_moe.gate.weight", &[2, 64]));
    for expert in 0..2 {
        tensors.extend(linears(
            &format!("model.layers.0.block_sparse_moe.experts.{expert}."),
            &["w1", "w2", "w3"],
        ));
    }
    tensors.push(tensor("lm_head.weight", &[2000, 64]));
    (config, tensors)
}

fn plan(source: &(Value, Vec<SourceTensor>), options: PlanOptions) -> Plan {
    Plan::new(&source.0, &source.1, &options).unwrap()
}

fn with(profile: Profile) -> PlanOptions {
    PlanOptions { profile, ..PlanOptions::default() }
}

fn skipping(profile: Profile, skip: &[&str]) -> PlanOptions {
    PlanOptions { skip: Some(skip.iter().map(|s| s.to_string()).collect()), ..with(profile) }
}

fn converted(plan: &Plan) -> Vec<&str> {
    let quantized = |e: &&PlanEntry| matches!(e.action, Action::Quantize { .. });
    plan.entries.iter().filter(quantized).map(|e| e.source.name.as_str()).collect()
}

fn reason<'a>(plan: &'a Plan, name: &str) -> &'a str {
    &plan.find(name).unwrap().reason
}

fn list(plan: &Plan) -> Vec<&str> {
    plan.skip_modules.as_ref().unwrap().iter().map(String::as_str).collect()
}

#[test]
fn llama_is_planned_as_everywhere() {
    let source = llama();
    for profile in [Profile::Portable, Profile::V5, Profile::V4, Profile::V441] {
        let plan = plan(&source, with(profile));
        assert_eq!(plan.mode, Mode::Table);
        assert_eq!(plan.dtype, FloatType::Bf16);
        assert_eq!(converted(&plan).len(), 14, "{profile:?}");
        assert_eq!(reason(&plan, "lm_head.weight"), "output head (lm_head), kept in 16 bit by transformers");
        assert_eq!(reason(&plan, "model.embed_tokens.weight"), "embedding");
        assert_eq!(reason(&plan, "model.layers.0.input_layernorm.weight"), "not a matrix (1 dimension)");
        assert_eq!(reason(&plan, "model.layers.1.mlp.up_proj.weight"), "linear layer");
        let expected = (profile == Profile::Portable).then(|| vec!["lm_head".to_owned()]);
        assert_eq!(plan.skip_modules, expected, "{profile:?}");
    }
}

#[test]
fn sizes_add_up() {
    let source = llama();
    let spec = QuantSpec::default();
    let plan = plan(&source, PlanOptions { spec, ..with(Profile::V5) });
    let entry = plan.find("model.layers.0.mlp.up_proj.weight").unwrap();
    let json = r#"{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [64, 64]}"#;
    assert_eq!(entry.bytes_before, 64 * 64 * 2);
    assert_eq!(entry.bytes_after, 64 * 64 / 2 + 64 * 4 + 16 * 4 + json.len() as u64);
    let totals = plan.totals();
    assert_eq!((totals.converted, totals.kept), (14, 4));
    assert_eq!(totals.bytes_after, plan.entries.iter().map(|e| e.bytes_after).sum::<u64>());
}

#[test]
fn an_absent_tied_head_is_still_in_the_list() {
    let (mut config, mut tensors) = llama();
    config["tie_word_embeddings"] = json!(true);
    tensors.pop();
    let plan = plan(&(config, tensors), PlanOptions::default());
    assert_eq!(list(&plan), ["lm_head"]);
}

#[test]
fn a_given_list_replaces_the_automatic_one_except_in_portable_plans() {
    let source = llama();
    for profile in [Profile::V4, Profile::V5] {
        let plan = plan(&source, skipping(profile, &["up_proj"]));
        assert_eq!(converted(&plan).len(), 13, "{profile:?}: the head is quantized");
        assert_eq!(list(&plan), ["up_proj"]);
        assert_eq!(reason(&plan, "model.layers.0.mlp.up_proj.weight"), "skip list entry \"up_proj\"");
        assert!(plan.notes.iter().any(|n| n.contains("lm_head.weight")), "{:?}", plan.notes);
    }
    let nothing = plan(&source, skipping(Profile::V5, &[]));
    assert_eq!((converted(&nothing).len(), list(&nothing).len()), (15, 0));

    let portable = plan(&source, skipping(Profile::Portable, &["model.layers.*.self_attn", "lm_heads"]));
    assert_eq!(converted(&portable).len(), 6);
    assert_eq!(
        list(&portable)[..3],
        ["lm_head", "model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.o_proj",]
    );
    assert!(list(&portable).contains(&"model.layers.1.self_attn.qkv_proj"), "vLLM's name for q, k and v");
    assert_eq!(portable.notes, ["\"lm_heads\" names no module of this checkpoint"]);
}

#[test]
fn patterns_match_as_the_version_matches() {
    let source = llama();
    // A regular expression for 5.x, plain text for 4.x.
    let pattern = [r"model\.layers\.1\..*", "lm_head"];
    assert_eq!(converted(&plan(&source, skipping(Profile::V5, &pattern))).len(), 7);
    assert_eq!(converted(&plan(&source, skipping(Profile::V4, &pattern))).len(), 14);
    // A container anywhere for 4.x, only from the start for 5.x.
    let container = ["mlp", "lm_head"];
    assert_eq!(converted(&plan(&source, skipping(Profile::V4, &container))).len(), 8);
    assert_eq!(converted(&plan(&source, skipping(Profile::V5, &container))).len(), 14);
    let error = Plan::new(&source.0, &source.1, &skipping(Profile::V5, &["(mlp"])).unwrap_err();
    assert!(error.to_string().contains("(mlp"), "{error}");
}

#[test]
fn what_vllm_fuses_is_kept_together() {
    let plan = plan(&llama(), skipping(Profile::Portable, &["model.layers.0.self_attn.q_proj"]));
    assert_eq!(converted(&plan).len(), 11);
    assert_eq!(
        reason(&plan, "model.layers.0.self_attn.v_proj.weight"),
        "kept together with q_proj: vLLM fuses them into one layer"
    );
    assert_eq!(reason(&plan, "model.layers.0.self_attn.o_proj.weight"), "linear layer");
}

#[test]
fn only_what_is_included() {
    let options = PlanOptions { include: vec!["mlp.down_proj".into()], ..PlanOptions::default() };
    let plan = plan(&llama(), options);
    assert_eq!(
        converted(&plan),
        ["model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"]
    );
    assert_eq!(reason(&plan, "model.layers.0.mlp.up_proj.weight"), "not among the modules to convert");
    assert!(list(&plan).contains(&"model.layers.0.mlp.gate_up_proj"));
}

#[test]
fn experts_and_routers() {
    let source = mixtral();
    let router = "model.layers.0.block_sparse_moe.gate.weight";
    let expert = "model.layers.0.block_sparse_moe.experts.1.w2.weight";

    let v4 = plan(&source, with(Profile::V4));
    assert_eq!(converted(&v4).len(), 4 + 6 + 1, "4.57 converts the router too");
    assert_eq!(reason(&v4, expert), "linear layer of an expert");

    let v5 = plan(&source, with(Profile::V5));
    assert_eq!(converted(&v5).len(), 4);
    assert!(reason(&v5, router).starts_with("router"));
    assert!(reason(&v5, expert).starts_with("expert"));

    let portable = plan(&source, with(Profile::Portable));
    assert_eq!(converted(&portable).len(), 4);
    let names = list(&portable);
    for name in [
        "lm_head",
        "model.layers.0.block_sparse_moe.experts",
        "model.layers.0.block_sparse_moe.gate",
        "model.layers.0.mlp.experts",
        "model.layers.0.mlp.gate",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(portable.notes[0].starts_with("experts stay in 16 bit"), "{:?}", portable.notes);

    let four = plan(&source, PlanOptions { experts: Experts::FourBit, ..PlanOptions::default() });
    assert_eq!(converted(&four).len(), 4 + 6);
    assert!(!list(&four).iter().any(|n| n.ends_with("experts")));
    assert!(four.notes[0].contains("transformers 5 does not"), "{:?}", four.notes);

    let sixteen = plan(&source, PlanOptions { experts: Experts::SixteenBit, ..with(Profile::V4) });
    assert_eq!(converted(&sixteen).len(), 4 + 1);
    assert!(list(&sixteen).contains(&"model.layers.0.block_sparse_moe.experts"));
    assert_eq!(reason(&sixteen, expert), "expert: kept in 16 bit as asked");
}

#[test]
fn gpt2_is_transposed_with_and_without_its_prefix() {
    let config = json!({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 2000});
    for prefix in ["transformer.", ""] {
        let mut tensors = vec![
            tensor(&format!("{prefix}wte.weight"), &[2000, 64]),
            tensor(&format!("{prefix}wpe.weight"), &[128, 64]),
        ];
        tensors.push(tensor(&format!("{prefix}h.0.attn.c_attn.weight"), &[64, 192]));
        tensors.extend(linears(&format!("{prefix}h.0."), &["attn.c_proj", "mlp.c_fc", "mlp.c_proj"]));
        let plan = plan(&(config.clone(), tensors), PlanOptions::default());
        assert_eq!(converted(&plan).len(), 4, "prefix {prefix:?}");
        let entry = plan.find(&format!("{prefix}h.0.attn.c_attn.weight")).unwrap();
        assert_eq!(entry.action, Action::Quantize { dtype: FloatType::Bf16, transpose: true });
        assert_eq!(entry.reason, "linear layer (Conv1D, stored transposed)");
        assert_eq!(list(&plan), ["lm_head"]);
    }
}

#[test]
fn conv1d_is_recognized_by_its_bias_where_the_type_is_unknown() {
    let bias = |n: u64| SourceTensor {
        name: "h.0.c_fc.bias".into(),
        dtype: DType::Bf16,
        shape: Shape::new(&[n]).unwrap(),
    };
    for (length, transposed) in [(256, true), (64, false)] {
        let tensors =
            vec![tensor("h.0.c_fc.weight", &[64, 256]), tensor("h.0.c_proj.weight", &[64, 64]), bias(length)];
        let plan = plan(&(json!({}), tensors), PlanOptions::default());
        assert_eq!(plan.mode, Mode::Generic);
        for name in ["h.0.c_fc.weight", "h.0.c_proj.weight"] {
            let action = plan.find(name).unwrap().action;
            assert_eq!(action, Action::Quantize { dtype: FloatType::Bf16, transpose: transposed }, "{name}");
        }
    }
}

#[test]
fn t5_wo_is_held_in_float32_as_each_version_holds_it() {
    let config =
        json!({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 2000});
    let wo = "encoder.block.0.layer.1.DenseReluDense.wo.weight";
    let tensors = vec![
        tensor("shared.weight", &[2000, 64]),
        tensor("encoder.block.0.layer.0.SelfAttention.q.weight", &[64, 64]),
        tensor("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[32, 4]),
        tensor("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[32, 4]),
        tensor(wo, &[64, 64]),
    ];
    let source = (config, tensors);
    let cases = [
        (Profile::V4, FloatType::Bf16, DType::F32),
        (Profile::V5, FloatType::Bf16, DType::Bf16),
        (Profile::V5, FloatType::F16, DType::F32),
        (Profile::Portable, FloatType::F16, DType::F32),
        (Profile::Portable, FloatType::Bf16, DType::Bf16),
    ];
    for (profile, dtype, stored) in cases {
        let plan = plan(&source, PlanOptions { dtype: Some(dtype), ..with(profile) });
        assert_eq!(plan.find(wo).unwrap().action, Action::Keep { dtype: stored }, "{profile:?} {dtype:?}");
        assert_eq!(reason(&plan, wo), "one of the model's float32 modules (wo), never quantized");
        assert_eq!(converted(&plan), ["encoder.block.0.layer.0.SelfAttention.q.weight"]);
        let shared = plan.find("shared.weight").unwrap().action;
        assert_eq!(shared, Action::Keep { dtype: dtype.into() });
        if profile == Profile::Portable {
            assert_eq!(list(&plan), ["encoder.block.0.layer.1.DenseReluDense.wo", "lm_head"]);
        }
    }
}

#[test]
fn mamba_projections_stay_in_portable_plans() {
    let config = json!({"model_type": "mamba", "architectures": ["MambaForCausalLM"]});
    let mut tensors = vec![tensor("backbone.embeddings.weight", &[2000, 64])];
    tensors.extend(linears("backbone.layers.0.mixer.", &["in_proj", "x_proj", "dt_proj", "out_proj"]));
    tensors.push(tensor("backbone.layers.0.mixer.A_log", &[64, 16]));
    tensors.push(tensor("backbone.layers.0.mixer.D", &[64]));
    let source = (config, tensors);
    assert_eq!(converted(&plan(&source, with(Profile::V5))).len(), 4);
    let portable = plan(&source, PlanOptions::default());
    assert_eq!(converted(&portable), ["backbone.layers.0.mixer.in_proj.weight"]);
    assert!(reason(&portable, "backbone.layers.0.mixer.dt_proj.weight").contains("Mamba"));
    assert_eq!(reason(&portable, "backbone.layers.0.mixer.A_log"), "a matrix, but no layer's weight");
}

#[test]
fn only_floats_are_quantized_or_cast() {
    let (config, mut tensors) = llama();
    for (i, dtype) in [DType::F8E4m3, DType::I8, DType::F32, DType::F16, DType::F64].into_iter().enumerate() {
        tensors[1 + i].dtype = dtype;
    }
    tensors.push(SourceTensor {
        name: "model.counts".into(),
        dtype: DType::I64,
        shape: Shape::new(&[3]).unwrap(),
    });
    let plan = plan(&(config, tensors), PlanOptions::default());
    let entry = |i: usize| &plan.entries[1 + i];
    assert_eq!(entry(0).action, Action::Keep { dtype: DType::F8E4m3 });
    assert_eq!(entry(0).reason, "stored as F8_E4M3: only F64, F32, F16 and BF16 are quantized");
    assert_eq!(entry(1).action, Action::Keep { dtype: DType::I8 });
    // v_proj goes the way of q_proj and k_proj, cast to the load dtype.
    assert_eq!(entry(2).action, Action::Keep { dtype: DType::Bf16 });
    assert_eq!(entry(3).action, Action::Quantize { dtype: FloatType::Bf16, transpose: false });
    assert_eq!(entry(4).action, Action::Quantize { dtype: FloatType::Bf16, transpose: false });
    assert!(plan.notes.iter().any(|n| n.starts_with("1 tensor(s) are stored as F64: they are cast")));
    assert_eq!(plan.find("model.counts").unwrap().action, Action::Keep { dtype: DType::I64 });
    assert!(list(&plan).contains(&"model.layers.0.self_attn.q_proj"));
}

#[test]
fn the_load_dtype_comes_from_options_config_or_tensors() {
    let (mut config, tensors) = llama();
    let dtype = |config: &Value, options: PlanOptions| Plan::new(config, &tensors, &options).map(|p| p.dtype);
    assert_eq!(
        dtype(&config, PlanOptions { dtype: Some(FloatType::F32), ..PlanOptions::default() }).unwrap(),
        FloatType::F32
    );
    config["dtype"] = json!("float16");
    assert_eq!(dtype(&config, PlanOptions::default()).unwrap(), FloatType::F16, "dtype before torch_dtype");
    config["dtype"] = json!("auto");
    config["torch_dtype"] = Value::Null;
    config["text_config"] = json!({"torch_dtype": "float32"});
    assert_eq!(dtype(&config, PlanOptions::default()).unwrap(), FloatType::F32);
    config["text_config"] = json!({});
    assert_eq!(dtype(&config, PlanOptions::default()).unwrap(), FloatType::Bf16);
    config["dtype"] = json!("float64");
    let error = dtype(&config, PlanOptions::default()).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("float64"), "{error}");
}

#[test]
fn quantized_checkpoints_are_refused_by_name() {
    let (config, tensors) = llama();
    let refused = |config: &Value, tensors: &[SourceTensor]| {
        Plan::new(config, tensors, &PlanOptions::default()).unwrap_err().to_string()
    };
    let configs = [
        (json!({"load_in_4bit": true, "quant_method": "bitsandbytes"}), "bitsandbytes 4-bit"),
        (json!({"load_in_8bit": true}), "bitsandbytes 8-bit"),
        (json!({"quant_method": "gptq", "bits": 4}), "gptq"),
        (json!({"quant_method": "awq"}), "awq"),
        (json!({"quant_method": "fp8"}), "fp8"),
        (json!({"quant_method": "compressed-tensors"}), "compressed-tensors"),
    ];
    for (quantization, name) in configs {
        let mut top = config.clone();
        top["quantization_config"] = quantization.clone();
        let error = refused(&top, &tensors);
        assert!(
            error.starts_with(&format!("already quantized: {name} ")) && error.contains("dequantize"),
            "{error}"
        );
        let mut nested = config.clone();
        nested["text_config"] = json!({"quantization_config": quantization});
        assert_eq!(refused(&nested, &tensors), error);
    }
    for name in ["absmax", "quant_state.bitsandbytes__nf4"] {
        let mut with = tensors.clone();
        with.push(tensor(&format!("model.layers.0.mlp.up_proj.weight.{name}"), &[64]));
        assert!(refused(&config, &with).contains(name));
    }
}

#[test]
fn heads_of_other_classes() {
    let (mut config, mut tensors) = llama();
    config["architectures"] = json!(["LlamaForSequenceClassification"]);
    tensors.pop();
    tensors.push(tensor("score.weight", &[3, 64]));
    for profile in [Profile::V5, Profile::V4] {
        let plan = plan(&(config.clone(), tensors.clone()), with(profile));
        assert_eq!(converted(&plan).len(), 14);
        assert_eq!(reason(&plan, "score.weight"), "last module (score), kept in 16 bit by transformers");
    }
    // A bias after it, and transformers 5 does not protect it any more.
    tensors.push(tensor("score.bias", &[3]));
    let source = (config, tensors);
    assert_eq!(converted(&plan(&source, with(Profile::V5))).len(), 15);
    assert_eq!(converted(&plan(&source, with(Profile::V4))).len(), 14);
    let portable = plan(&source, PlanOptions::default());
    assert_eq!(list(&portable), ["score"]);
    assert!(portable.notes[0].contains("LlamaForSequenceClassification"), "{:?}", portable.notes);
}

#[test]
fn a_base_model_without_prefix_keeps_its_embeddings() {
    let (mut config, tensors) = llama();
    config["architectures"] = json!(["LlamaModel"]);
    let mut bare: Vec<SourceTensor> = tensors
        .iter()
        .filter_map(|t| Some(SourceTensor { name: t.name.strip_prefix("model.")?.to_owned(), ..t.clone() }))
        .collect();
    let source = (config, bare.clone());
    let whole = plan(&source, PlanOptions::default());
    assert_eq!(reason(&whole, "embed_tokens.weight"), "embedding");
    assert_eq!(converted(&whole).len(), 14);
    // The same where the table's names are of no help at all.
    bare.iter_mut().for_each(|t| t.name = format!("x.y.{}", t.name));
    let plan = plan(&(source.0, bare), PlanOptions::default());
    assert_eq!(reason(&plan, "x.y.embed_tokens.weight"), "embedding");
    assert_eq!(converted(&plan).len(), 14);
}

#[test]
fn unknown_types_are_planned_by_name_with_a_list_in_every_profile() {
    let (mut config, tensors) = llama();
    config["model_type"] = json!("nobody_knows_it");
    for profile in [Profile::Portable, Profile::V5, Profile::V4] {
        let plan = plan(&(config.clone(), tensors.clone()), with(profile));
        assert_eq!(plan.mode, Mode::Generic);
        assert_eq!(converted(&plan).len(), 14);
        assert_eq!(list(&plan), ["lm_head"]);
        assert!(plan.notes[0].contains("nobody_knows_it"));
    }
}

#[test]
fn a_type_on_which_versions_agree_on_nothing_says_so() {
    let config = json!({"model_type": "falcon", "architectures": ["FalconForCausalLM"]});
    let mut tensors = vec![tensor("transformer.word_embeddings.weight", &[2000, 64])];
    tensors.extend(linears("transformer.h.0.", &["self_attention.query_key_value", "self_attention.dense"]));
    let plan = plan(&(config, tensors), PlanOptions::default());
    assert!(converted(&plan).is_empty());
    assert_eq!(plan.notes[0], "no linear layer to convert was found: nothing becomes 4-bit");
    assert_eq!(plan.notes[1], "transformers 4.57 by itself would convert 2 layers (profile v4)");
}

#[test]
fn names_that_no_list_can_state_are_refused() {
    let (config, mut tensors) = llama();
    tensors.push(tensor("model.layers.0.odd(name.weight", &[64, 64]));
    let error = Plan::new(&config, &tensors, &skipping(Profile::Portable, &["odd(name"])).unwrap_err();
    assert!(error.to_string().contains("odd(name"), "{error}");
}

#[test]
fn json_goes_there_and_back() {
    for options in [with(Profile::Portable), with(Profile::V441), skipping(Profile::V5, &["mlp"])] {
        let plan = plan(&mixtral(), options);
        let text = plan.to_json();
        assert_eq!(Plan::from_json(&text).unwrap(), plan);
        let value: Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["model_type", "profile", "mode", "dtype", "skip_modules", "tensors", "totals", "notes"]
        );
        assert_eq!(value["totals"]["converted"], plan.totals().converted);
        assert_eq!(value["tensors"][1]["dtype"], "BF16");
    }
}

#[test]
fn damaged_plans_are_refused() {
    let text = plan(&llama(), PlanOptions::default()).to_json();
    let good: Value = serde_json::from_str(&text).unwrap();
    let damage = |change: &dyn Fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        Plan::from_json(&value.to_string()).unwrap_err().to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Change, &str); 8] = [
        (&|v| v["tensors"][1]["name"] = v["tensors"][0]["name"].clone(), "twice"),
        (&|v| v["tensors"][1]["dtype"] = json!("I8"), "only F64, F32, F16 and BF16"),
        (&|v| v["tensors"][1]["shape"] = json!([1, 1, 1, 1, 1, 1, 1, 1, 1]), "rank 9"),
        (&|v| v["tensors"][0]["target_dtype"] = json!("I64"), "cast from BF16 to I64"),
        (&|v| v["tensors"][0]["transpose"] = json!(true), "transposed"),
        (&|v| v["tensors"][0]["dtype"] = json!("BF17"), "BF17"),
        (&|v| v["profile"] = json!("v6"), "v6"),
        (&|v| v["tensors"] = json!(3), "plan:"),
    ];
    for (change, words) in cases {
        let error = damage(change);
        assert!(error.starts_with("plan: ") && error.contains(words), "{error}");
    }
    assert!(Plan::from_json("{").is_err());
}

mod any_input {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just(String::new()),
            Just("weight".to_owned()),
            Just("model".to_owned()),
            Just("experts".to_owned()),
            Just("lm_head".to_owned()),
            Just("q_proj".to_owned()),
            "[0-9]{1,3}",
            "[a-z_]{1,6}",
            "\\PC{0,3}",
        ];
        prop::collection::vec(part, 0..7).prop_map(|parts| parts.join("."))
    }

    fn model_type() -> impl Strategy<Value = String> {
        let known = ["llama", "mixtral", "gpt2", "t5", "bert", "fuyu", "zamba", "llava", "dinov2", "nobody"];
        prop::sample::select(known.map(str::to_owned).to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the names: an error or a plan with an entry per tensor, never a panic.
        #[test]
        fn names_of_any_kind(
            names in prop::collection::vec((name(), prop::collection::vec(0u64..70, 0..4)), 0..30),
            skip in prop::option::of(prop::collection::vec(name(), 0..4)),
            include in prop::collection::vec(name(), 0..2),
            model_type in model_type(),
            class in "Llama(Model|ForCausalLM|ForSequenceClassification)",
            profile in prop::sample::select(vec![Profile::Portable, Profile::V5, Profile::V4, Profile::V441]),
            experts in prop::sample::select(vec![
                Experts::Auto, Experts::SixteenBit, Experts::FourBit, Experts::FusedFourBit,
            ]),
        ) {
            let config = json!({"model_type": model_type, "architectures": [class]});
            let tensors: Vec<_> = names.iter().map(|(n, s)| tensor(&format!("{n}.weight"), s)).collect();
            let options = PlanOptions { profile, skip, include, experts, ..PlanOptions::default() };
            if let Ok(plan) = Plan::new(&config, &tensors, &options) {
                prop_assert_eq!(plan.entries.len(), tensors.len());
                prop_assert!(profile != Profile::Portable || plan.skip_modules.is_some());
            }
        }
    }
}

#[test]
fn strict_float32_names_hold_for_quantized_layers_too() {
    let config =
        json!({"model_type": "nemo_speechlm", "architectures": ["NemoSpeechLMForConditionalGeneration"]});
    let names = ["model.audio_tower.layers.0.linear", "model.language_model.layers.0.mlp.up_proj"];
    let tensors: Vec<_> = names.iter().map(|n| tensor(&format!("{n}.weight"), &[64, 64])).collect();
    let plan = plan(&(config, tensors), PlanOptions { dtype: Some(FloatType::Bf16), ..with(Profile::V5) });
    let action = |i: usize| plan.entries[i].action;
    assert_eq!(action(0), Action::Quantize { dtype: FloatType::F32, transpose: false });
    assert_eq!(action(1), Action::Quantize { dtype: FloatType::Bf16, transpose: false });
}

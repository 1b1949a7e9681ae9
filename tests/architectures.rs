//! Tiny checkpoints of many architectures, from config.json and names to a 4-bit checkpoint and back:
//! what is converted under each profile and why, that it reads back close to the source, and that
//! dequantizing gives the source's names and shapes.

mod checkpoint_support;
mod common;
mod tiny_models;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use common::context;
use fourbit::checkpoint::{
    Checkpoint, Entry, Progress, SaveOptions, Verdict, dequantize_model, plan_as_written,
    quantize_checkpoint, quantized_config, verify,
};
use fourbit::config::QuantizationConfig;
use fourbit::dtype::{DType, FloatType};
use fourbit::plan::{Action, Mode, Plan, PlanOptions, Profile, Reader};
use fourbit::quant::QuantSpec;
use tiny_models::{self as tiny, TinyModel};

const PROFILES: [Profile; 4] = [Profile::Portable, Profile::V5, Profile::V4, Profile::V441];

/// What is expected of one architecture.
struct Case {
    model: TinyModel,
    /// Last components of what every profile converts.
    converted: &'static [&'static str],
    /// Besides, what 4.57 converts and 5.23 does not.
    v4: &'static [&'static str],
    /// Besides, what 5.23 converts and 4.57 does not.
    v5: &'static [&'static str],
    /// Converted by both, but not in portable plans.
    not_portable: &'static [&'static str],
    /// Parts of tensor names, and why they stay in portable plans.
    kept: &'static [(&'static str, &'static str)],
}

const DECODER: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

fn case(
    model: TinyModel,
    converted: &'static [&'static str],
    kept: &'static [(&'static str, &'static str)],
) -> Case {
    Case { model, converted, v4: &[], v5: &[], not_portable: &[], kept }
}

fn cases() -> Vec<Case> {
    let untied: &[(&str, &str)] = &[
        ("embed_tokens", "embedding"),
        ("lm_head", "output head (lm_head)"),
        ("input_layernorm", "not a matrix (1 dimension)"),
    ];
    let tied: &[(&str, &str)] = &[("embed_tokens", "embedding"), ("norm", "not a matrix (1 dimension)")];
    let query_key_value: &[&str] = &["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"];
    vec![
        case(tiny::llama(), DECODER, untied),
        case(tiny::mistral(), DECODER, untied),
        case(tiny::qwen2(), DECODER, &[("k_proj.bias", "not a matrix"), ("embed_tokens", "embedding")]),
        case(tiny::qwen3(), DECODER, &[("q_norm", "not a matrix"), ("embed_tokens", "embedding")]),
        case(tiny::gemma2(), DECODER, tied),
        case(tiny::gpt2(), &["c_attn", "c_proj", "c_fc"], &[("wte", "embedding"), ("wpe", "embedding")]),
        case(
            tiny::opt(),
            &["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
            &[("embed_tokens", "embedding"), ("embed_positions", "embedding")],
        ),
        case(tiny::bloom(), query_key_value, &[("word_embeddings.weight", "embedding")]),
        Case {
            v4: query_key_value,
            ..case(tiny::falcon(), &[], &[("dense.weight", "no nn.Linear in transformers 5")])
        },
        Case {
            v4: &["gate", "w1", "w2", "w3"],
            ..case(
                tiny::mixtral(),
                &["q_proj", "k_proj", "v_proj", "o_proj"],
                &[("gate", "router"), ("experts.2.w1", "expert: transformers 5 keeps experts fused")],
            )
        },
        Case {
            v4: &["gate"],
            ..case(
                tiny::qwen3_moe(48),
                &["q_proj", "k_proj", "v_proj", "o_proj"],
                &[("mlp.gate.", "router"), ("experts.gate_up_proj", "fused experts (3 dimensions)")],
            )
        },
        case(
            tiny::gpt_oss(48),
            &["q_proj", "k_proj", "v_proj", "o_proj"],
            &[("router.weight", "router"), ("gate_up_proj_bias", "a matrix, but no layer's weight")],
        ),
        case(
            tiny::t5(),
            &["q", "k", "v", "o", "wi"],
            &[
                ("wo", "float32 modules (wo)"),
                ("relative_attention_bias", "embedding"),
                ("shared", "embedding"),
            ],
        ),
        Case {
            v5: &["seq_relationship"],
            ..case(
                tiny::bert(),
                &["query", "key", "value", "dense"],
                &[
                    ("seq_relationship.weight", "last module (cls.seq_relationship)"),
                    ("word_embeddings", "embedding"),
                ],
            )
        },
        Case {
            not_portable: &["dt_proj", "x_proj", "out_proj"],
            ..case(
                tiny::mamba(),
                &["in_proj"],
                &[
                    ("dt_proj.weight", "projection of a Mamba mixer"),
                    ("conv1d.weight", "not a matrix (3 dimensions)"),
                ],
            )
        },
    ]
}

fn converted_leaves(plan: &Plan) -> BTreeSet<&str> {
    let names = plan.entries.iter().filter(|e| e.is_converted()).map(|e| e.source.name.as_str());
    names
        .map(|name| name.strip_suffix(".weight").unwrap_or(name))
        .map(|m| m.rsplit('.').next().unwrap())
        .collect()
}

fn expected(case: &Case, profile: Profile) -> BTreeSet<&'static str> {
    let of_version: &[&[&str]] = match profile {
        Profile::Portable => &[],
        Profile::V5 => &[case.v5, case.not_portable],
        Profile::V4 | Profile::V441 => &[case.v4, case.not_portable],
    };
    case.converted.iter().chain(of_version.iter().copied().flatten()).copied().collect()
}

fn name(case: &Case) -> &str {
    case.model.config["model_type"].as_str().unwrap()
}

#[test]
fn each_profile_converts_what_it_should_and_says_why_not() {
    for case in cases() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = case.model.write(&directory.path().join("m"));
        for profile in PROFILES {
            let plan = checkpoint.plan(&PlanOptions { profile, ..PlanOptions::default() }).unwrap();
            assert_eq!(plan.mode, Mode::Table, "{}", name(&case));
            // 4.41 knows fewer types; the others follow its successor's rules.
            assert_eq!(converted_leaves(&plan), expected(&case, profile), "{} {profile:?}", name(&case));
            assert!(plan.entries.iter().all(|e| !e.reason.is_empty()));
        }
        let portable = checkpoint.plan(&PlanOptions::default()).unwrap();
        for (part, why) in case.kept {
            let found: Vec<_> = portable.entries.iter().filter(|e| e.source.name.contains(part)).collect();
            assert!(!found.is_empty(), "{}: {part}", name(&case));
            for entry in found {
                assert!(
                    !entry.is_converted() && entry.reason.contains(why),
                    "{}: {}",
                    entry.source.name,
                    entry.reason
                );
            }
        }
    }
}

fn go_on(_: &Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn convert(source: &Checkpoint, plan: &Plan, spec: &QuantSpec, output: &Path) -> Checkpoint {
    let config =
        quantized_config(source, plan, &QuantizationConfig::from_spec(spec, FloatType::Bf16)).unwrap();
    let options = SaveOptions { config, ..SaveOptions::default() };
    quantize_checkpoint(&context(2), spec, source, plan, output, &options, &mut go_on).unwrap();
    Checkpoint::open(output).unwrap()
}

/// Every tensor of the result against the plan and the source. The weights are roughly normal, for
/// which NF4 in blocks of 64 has about 20.5 dB.
fn check_result(case: &Case, source: &Checkpoint, quantized: &Checkpoint, plan: &Plan) {
    let context = context(2);
    let mut weights = 0;
    for check in verify(&context, source, quantized, plan).unwrap() {
        let check = check.unwrap();
        match check.verdict {
            Verdict::Converted(error) => {
                assert!(error.snr_db > 18.5, "{}: {}: {error:?}", name(case), check.name);
                weights += 1;
            }
            Verdict::Kept => {}
            other => panic!("{}: {}: {other:?}", name(case), check.name),
        }
    }
    assert_eq!(weights, plan.totals().converted);
    let stored = quantized.entries().iter().filter(|e| matches!(e, Entry::Weight(_))).count();
    assert_eq!(stored as u64, weights);
}

#[test]
fn everything_reads_back_and_dequantizes_to_the_source_s_names_and_shapes() {
    for case in cases() {
        for (profile, double_quant) in PROFILES.into_iter().zip([true, false, true, false]) {
            let directory = tempfile::tempdir().unwrap();
            let source = case.model.write(&directory.path().join("source"));
            let plan = source.plan(&PlanOptions { profile, ..PlanOptions::default() }).unwrap();
            let spec = QuantSpec { double_quant, ..QuantSpec::default() };
            let quantized = convert(&source, &plan, &spec, &directory.path().join("quantized"));
            check_result(&case, &source, &quantized, &plan);
            if plan.totals().converted == 0 {
                continue;
            }
            if profile != Profile::V441 {
                // Its own config.json leads any reader to the same decisions.
                let as_written = plan_as_written(&source, &quantized).unwrap();
                check_result(&case, &source, &quantized, &as_written);
            }
            let output = directory.path().join("plain");
            let options = SaveOptions::default();
            dequantize_model(&context(2), &quantized, None, &output, &options, &mut go_on).unwrap();
            let plain = Checkpoint::open(&output).unwrap();
            assert_eq!(plain.tensors().len(), source.tensors().len(), "{}", name(&case));
            for (back, was) in plain.tensors().iter().zip(source.tensors()) {
                assert_eq!((&back.name, back.shape), (&was.name, was.shape), "{}", name(&case));
                let kept_in_float32 =
                    plan.find(&was.name).unwrap().action == Action::Keep { dtype: DType::F32 };
                assert_eq!(back.dtype, if kept_in_float32 { DType::F32 } else { was.dtype }, "{}", was.name);
            }
            let config = plain.config().unwrap().unwrap();
            assert!(config.get("quantization_config").is_none());
            assert_eq!(config["model_type"], case.model.config["model_type"]);
        }
    }
}

/// The written skip list, read by four readers: what is 4-bit is not skipped, and no layer that stays
/// is taken for one.
#[test]
fn portable_lists_name_every_layer_that_stays() {
    for case in cases() {
        let directory = tempfile::tempdir().unwrap();
        let plan = case.model.write(&directory.path().join("m")).plan(&PlanOptions::default()).unwrap();
        let set = fourbit::plan::PatternSet::new(plan.skip_modules.as_ref().unwrap()).unwrap();
        for entry in &plan.entries {
            let module = entry.source.name.strip_suffix(".weight").unwrap_or(&entry.source.name);
            let leaf = module.rsplit('.').next().unwrap();
            let is_layer =
                case.v4.contains(&leaf) || case.v5.contains(&leaf) || case.not_portable.contains(&leaf);
            for reader in Reader::ALL {
                let skipped = set.skips(reader, module).is_some();
                if entry.is_converted() {
                    assert!(!skipped, "{}: {module} for {}", name(&case), reader.name());
                } else if is_layer && entry.source.shape.matrix().is_some() {
                    assert!(skipped, "{}: {module} for {}", name(&case), reader.name());
                }
            }
        }
    }
}

/// Float types other than the load dtype: F32 and F16 are cast, and so is F64, as in transformers.
#[test]
fn tensors_of_other_float_types_are_cast_before_anything_else() {
    let mut model = tiny::llama();
    let as_f64 = |t: &mut checkpoint_support::Tensor| {
        let wide = |b: &[u8; 2]| half::bf16::from_le_bytes(*b).to_f64().to_le_bytes();
        t.bytes = t.bytes.as_chunks().0.iter().flat_map(wide).collect();
        t.dtype = DType::F64;
    };
    let plain = tempfile::tempdir().unwrap();
    let spec = QuantSpec { double_quant: true, ..QuantSpec::default() };
    let before = model.write(&plain.path().join("source"));
    let plan = before.plan(&PlanOptions::default()).unwrap();
    let expected = convert(&before, &plan, &spec, &plain.path().join("quantized"));
    model.tensors.iter_mut().for_each(as_f64);

    let directory = tempfile::tempdir().unwrap();
    let wide = model.write(&directory.path().join("source"));
    let plan = wide.plan(&PlanOptions::default()).unwrap();
    assert!(plan.notes.iter().any(|n| n.contains("stored as F64")), "{:?}", plan.notes);
    let quantized = convert(&wide, &plan, &spec, &directory.path().join("quantized"));
    // Every value was a bfloat16 to begin with: the same bytes.
    assert_eq!(expected.tensors(), quantized.tensors());
    for i in 0..expected.tensors().len() {
        assert_eq!(expected.bytes(i).unwrap(), quantized.bytes(i).unwrap(), "{}", expected.tensors()[i].name);
    }
    let context = context(1);
    for check in verify(&context, &wide, &quantized, &plan).unwrap() {
        assert!(check.unwrap().verdict.is_as_planned());
    }
    // Conv1D: transposed while it is cast.
    let mut turned = tiny::gpt2();
    turned.tensors.iter_mut().for_each(as_f64);
    let directory = tempfile::tempdir().unwrap();
    let source = turned.write(&directory.path().join("source"));
    let plan = source.plan(&PlanOptions::default()).unwrap();
    let quantized = convert(&source, &plan, &spec, &directory.path().join("quantized"));
    let narrow = tiny::gpt2().write(&directory.path().join("narrow"));
    let narrow_plan = narrow.plan(&PlanOptions::default()).unwrap();
    let expected = convert(&narrow, &narrow_plan, &spec, &directory.path().join("expected"));
    let name = "transformer.h.0.attn.c_attn.weight";
    let bytes = |c: &Checkpoint| c.bytes(c.find(name).unwrap()).unwrap().to_vec();
    assert_eq!(bytes(&quantized), bytes(&expected));
}

//! Fused experts as 4-bit weights of three dimensions: planned, written, read back, multiplied with,
//! verified and turned back.

mod checkpoint_support;
mod common;
mod tiny_models;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use common::{Random, context};
use fourbit::checkpoint::{
    Checkpoint, LoadOptions, Model, Progress, SaveOptions, dequantize_model, plan_as_written,
    quantize_checkpoint, quantized_config, verify,
};
use fourbit::config::QuantizationConfig;
use fourbit::dtype::FloatType;
use fourbit::plan::{Action, Experts, Plan, PlanOptions, Profile};
use fourbit::quant::{BlockSize, GemmOptions, QuantSpec, dequantize, grouped_gemm, quantize};
use fourbit::shape::Shape;
use fourbit::tensor::{TensorMut, TensorRef};
use fourbit::{Context, Error, Weight};
use tiny_models::{TinyModel, gpt_oss, granitemoe, llama, mixtral, qwen3_moe};

const GATE_UP: &str = "model.layers.0.mlp.experts.gate_up_proj";
const DOWN: &str = "model.layers.0.mlp.experts.down_proj";

fn spec(double_quant: bool) -> QuantSpec {
    QuantSpec { double_quant, ..QuantSpec::default() }
}

fn options(profile: Profile, spec: QuantSpec) -> PlanOptions {
    PlanOptions { profile, experts: Experts::FusedFourBit, spec, ..PlanOptions::default() }
}

fn go_on(_: &Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn write(checkpoint: &Checkpoint, plan: &Plan, spec: &QuantSpec, output: &Path) -> Checkpoint {
    let quantization = QuantizationConfig::from_spec(spec, FloatType::Bf16);
    let options = SaveOptions {
        config: quantized_config(checkpoint, plan, &quantization).unwrap(),
        ..SaveOptions::default()
    };
    quantize_checkpoint(&context(2), spec, checkpoint, plan, output, &options, &mut go_on).unwrap();
    Checkpoint::open(output).unwrap()
}

struct Written {
    source: Arc<Checkpoint>,
    quantized: Arc<Checkpoint>,
    plan: Plan,
    directory: tempfile::TempDir,
}

fn written(model: &TinyModel, profile: Profile, spec: &QuantSpec) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let source = model.write(&directory.path().join("source"));
    let plan = source.plan(&options(profile, *spec)).unwrap();
    let quantized = write(&source, &plan, spec, &directory.path().join("quantized"));
    Written { source: Arc::new(source), quantized: Arc::new(quantized), plan, directory }
}

fn decoded(context: &Context, weight: &Weight) -> Vec<f32> {
    let mut values = vec![0f32; weight.shape().numel() as usize];
    let dims = weight.shape();
    dequantize(context, weight, &mut TensorMut::new(&mut values, dims.dims()).unwrap()).unwrap();
    values
}

/// A grouped product with every expert of a weight, against sums in double over what the weight as a
/// whole decodes to.
fn check_products(weight: &Weight, transpose: bool) {
    let context = context(2);
    let [experts, rows, columns] = *weight.shape().dims() else { panic!("{}", weight.shape()) };
    let (inner, outer) = if transpose { (rows, columns) } else { (columns, rows) };
    let (inner, outer) = (inner as usize, outer as usize);
    let offsets: Vec<i64> = [0, 1, 1, 9, 12][..=experts as usize].to_vec();
    let tokens = *offsets.last().unwrap() as usize;
    let input = Random::new(7).normals(tokens * inner, 1.0);
    let mut output = vec![0f32; tokens * outer];
    let each: Vec<Weight> = (0..experts).map(|e| weight.expert(e).unwrap()).collect();
    let whole = decoded(&context, weight);
    for (e, expert) in each.iter().enumerate() {
        let part = &whole[e * (rows * columns) as usize..][..(rows * columns) as usize];
        assert_eq!(decoded(&context, expert), part, "expert {e} decodes to the same bits");
    }
    let each: Vec<&Weight> = each.iter().collect();
    grouped_gemm(
        &context,
        TensorRef::new(&input, &[tokens as u64, inner as u64]).unwrap(),
        &offsets,
        &each,
        GemmOptions { transpose, ..GemmOptions::default() },
        &mut TensorMut::new(&mut output, &[tokens as u64, outer as u64]).unwrap(),
    )
    .unwrap();
    for e in 0..experts as usize {
        let matrix = &whole[e * (rows * columns) as usize..];
        for token in offsets[e] as usize..offsets[e + 1] as usize {
            for o in 0..outer {
                let at = |i: usize| if transpose { i * outer + o } else { o * inner + i };
                let terms =
                    (0..inner).map(|i| f64::from(input[token * inner + i]) * f64::from(matrix[at(i)]));
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
                let got = f64::from(output[token * outer + o]);
                assert!((got - sum).abs() <= 1e-6 * size + 1e-9, "expert {e}, {token}, {o}: {got} {sum}");
            }
        }
    }
}

/// How many elements differ from the source by more than the block's size allows: none may.
fn check_error(weight: &Weight, source: &Checkpoint, name: &str) {
    let index = source.find(name).unwrap();
    let stored = source.bytes(index).unwrap();
    let values: Vec<f32> =
        stored.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect();
    let decoded = decoded(&context(1), weight);
    for (block, got) in values.chunks(64).zip(decoded.chunks(64)) {
        let absmax = block.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (v, g) in block.iter().zip(got) {
            // Half the widest gap of NF4, and what double quantization adds.
            assert!((v - g).abs() <= 0.155 * absmax + 0.002, "{name}: {v} became {g} beside {absmax}");
        }
    }
}

#[test]
fn a_mixture_goes_from_plan_to_grouped_products() {
    // With 96: expert matrices of 96 blocks, whose second-level blocks straddle experts; with 128: 256.
    for (ffn, shares_scales) in [(48, false), (128, true)] {
        for double_quant in [false, true] {
            let spec = spec(double_quant);
            for (model, transpose, words) in [
                (qwen3_moe(ffn), false, "each [out, in]:"),
                (gpt_oss(ffn), true, "each [in, out], to be multiplied with TRANSPOSE:"),
            ] {
                let w = written(&model, Profile::Portable, &spec);
                for name in [GATE_UP, DOWN] {
                    let entry = w.plan.find(name).unwrap();
                    assert_eq!(entry.action, Action::Quantize { dtype: FloatType::Bf16, transpose: false });
                    assert!(entry.reason.contains(words), "{}", entry.reason);
                    assert!(entry.reason.contains("only this library reads"), "{}", entry.reason);
                    let weight = w.quantized.weight(name).unwrap();
                    assert_eq!(weight.shape(), entry.source.shape, "rank 3 in the quant state");
                    check_error(&weight, &w.source, name);
                    check_products(&weight, transpose);
                    let expert = weight.expert(3).unwrap();
                    let aligned = name == GATE_UP && shares_scales;
                    assert_eq!(expert.is_double_quantized(), double_quant && aligned);
                    let image = expert.serialize().unwrap();
                    let again = Weight::deserialize(&image).unwrap();
                    assert_eq!(decoded(&context(1), &again), decoded(&context(1), &expert));
                }
                // The same weights when the model is quantized on loading, or loaded as written.
                let load = |checkpoint: &Arc<Checkpoint>, plan: &Plan| {
                    let options = LoadOptions::default();
                    Model::load(&context(2), &spec, checkpoint, plan, &options, &mut go_on).unwrap()
                };
                let models =
                    [load(&w.source, &w.plan), load(&w.quantized, &w.quantized.plan_as_stored().unwrap())];
                for loaded in models {
                    let a = loaded.weight(DOWN).unwrap();
                    let b = w.quantized.weight(DOWN).unwrap();
                    assert!(a.parts().zip(b.parts()).all(|(a, b)| (a.name, a.bytes) == (b.name, b.bytes)));
                }
            }
        }
    }
}

#[test]
fn the_output_says_who_reads_it_and_verifies() {
    for profile in [Profile::Portable, Profile::V5, Profile::V4] {
        let w = written(&qwen3_moe(48), profile, &spec(true));
        assert!(w.plan.notes.iter().any(|n| n.contains("only this library reads")), "{:?}", w.plan.notes);
        let config = w.quantized.config().unwrap().unwrap();
        assert_eq!(config["quantization_config"]["fourbit_experts"], "fused4bit");
        let plan = plan_as_written(&w.source, &w.quantized).unwrap();
        let context = context(2);
        let checks = verify(&context, &w.source, &w.quantized, &plan).unwrap();
        for check in checks {
            let check = check.unwrap();
            assert!(check.verdict.is_as_planned(), "{profile:?} {check:?}");
        }
        let again = Plan::from_json(&w.plan.to_json()).unwrap();
        assert_eq!(again.entries, w.plan.entries);
    }
}

#[test]
fn dequantizing_restores_the_three_dimensions() {
    let w = written(&gpt_oss(48), Profile::Portable, &spec(true));
    let output = w.directory.path().join("plain");
    let options = SaveOptions::default();
    dequantize_model(&context(2), &w.quantized, None, &output, &options, &mut go_on).unwrap();
    let plain = Checkpoint::open(&output).unwrap();
    let described = |c: &Checkpoint| -> Vec<_> {
        c.tensors().iter().map(|t| (t.name.clone(), t.dtype, t.shape)).collect()
    };
    assert_eq!(described(&plain), described(&w.source));
    let config = plain.config().unwrap().unwrap();
    assert!(config.get("quantization_config").is_none());
    let weight = w.quantized.weight(GATE_UP).unwrap();
    let values = decoded(&context(1), &weight);
    let stored = plain.bytes(plain.find(GATE_UP).unwrap()).unwrap();
    let rounded: Vec<u8> = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    assert_eq!(stored, rounded);
}

fn reason(model: &TinyModel, options: &PlanOptions, name: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let plan = model.write(&directory.path().join("m")).plan(options).unwrap();
    let entry = plan.find(name).unwrap();
    (entry.is_converted(), entry.reason.clone())
}

#[test]
fn what_stays_in_16_bits_and_why() {
    let fused = options(Profile::Portable, spec(false));
    // Not asked for.
    for experts in [Experts::Auto, Experts::SixteenBit, Experts::FourBit] {
        for profile in [Profile::Portable, Profile::V5, Profile::V4, Profile::V441] {
            let options = PlanOptions { experts, profile, ..PlanOptions::default() };
            let (converted, words) = reason(&qwen3_moe(48), &options, GATE_UP);
            assert!(!converted && words.contains("fused experts (3 dimensions)"), "{words}");
        }
    }
    // 96 x 64 elements are no whole blocks of 4096; 192 x 64 are.
    let large = QuantSpec { block_size: BlockSize::new(4096).unwrap(), ..QuantSpec::default() };
    let large = options(Profile::Portable, large);
    let (converted, words) = reason(&qwen3_moe(48), &large, DOWN);
    assert!(
        !converted && words.contains("3072 elements each") && words.contains("blocks of 4096"),
        "{words}"
    );
    assert!(reason(&qwen3_moe(64), &large, DOWN).0);
    // Biases, routers and embeddings.
    for name in ["gate_up_proj_bias", "down_proj_bias"] {
        assert!(!reason(&gpt_oss(48), &fused, &format!("model.layers.0.mlp.experts.{name}")).0);
    }
    assert!(!reason(&gpt_oss(48), &fused, "model.layers.0.mlp.router.weight").0);
    // Other names, known by the number of experts.
    let (converted, words) =
        reason(&granitemoe(), &fused, "model.layers.0.block_sparse_moe.output_linear.weight");
    assert!(converted && words.contains("each [out, in]:"), "{words}");
    // Square matrices of a type that is not known to store them transposed.
    let (converted, words) = reason(&qwen3_moe(64), &fused, DOWN);
    assert!(converted && words.contains("the shape does not tell"), "{words}");
    let (_, words) = reason(&gpt_oss(64), &fused, DOWN);
    assert!(words.contains("each [in, out]"), "{words}");
    // Nothing fused: experts one by one.
    let w1 = "model.layers.0.block_sparse_moe.experts.1.w1.weight";
    assert!(
        reason(&mixtral(), &fused, w1).0
            == reason(&mixtral(), &PlanOptions { experts: Experts::FourBit, ..PlanOptions::default() }, w1).0
    );
    let directory = tempfile::tempdir().unwrap();
    let plan = llama().write(&directory.path().join("m")).plan(&fused).unwrap();
    assert!(plan.notes.iter().any(|n| n.contains("no fused experts")), "{:?}", plan.notes);
}

#[test]
fn skipped_ones_stay_plain_for_every_reader_of_the_list() {
    for (profile, skip) in [
        (Profile::Portable, "experts.down_proj"),
        (Profile::V5, "model.layers.0.mlp.experts.down_proj"),
        (Profile::V4, "model.layers.0.mlp.experts.down_proj"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let source = qwen3_moe(48).write(&directory.path().join("source"));
        let options = PlanOptions {
            skip: Some(vec!["lm_head".to_owned(), skip.to_owned()]),
            ..options(profile, spec(true))
        };
        let plan = source.plan(&options).unwrap();
        assert!(!plan.find(DOWN).unwrap().is_converted() && plan.find(GATE_UP).unwrap().is_converted());
        let quantized = write(&source, &plan, &spec(true), &directory.path().join("quantized"));
        let context = context(1);
        let as_written = plan_as_written(&source, &quantized).unwrap();
        for check in verify(&context, &source, &quantized, &as_written).unwrap() {
            let check = check.unwrap();
            assert!(check.verdict.is_as_planned(), "{profile:?} {check:?}");
        }
    }
}

#[test]
fn experts_share_storage_and_outlive_the_weight() {
    let values = Random::new(3).normals(3 * 32 * 64, 0.1);
    let source = TensorRef::new(&values, &[3, 32, 64]).unwrap();
    let weight = quantize(&context(1), &spec(false), source).unwrap();
    let part = |w: &Weight, i: usize| w.parts().nth(i).unwrap().bytes.as_ptr() as usize;
    let (codes, absmax) = (part(&weight, 0), part(&weight, 1));
    let expert = weight.expert(2).unwrap();
    assert_eq!(part(&expert, 0), codes + 2 * 32 * 64 / 2);
    assert_eq!(part(&expert, 1), absmax + 2 * 32 * 4);
    assert_eq!(expert.shape(), Shape::new(&[32, 64]).unwrap());
    let before = decoded(&context(1), &expert);
    drop(weight);
    assert_eq!(decoded(&context(1), &expert), before);

    let error = expert.expert(0).unwrap_err();
    assert!(matches!(&error, Error::ShapeMismatch(w) if w.contains("three dimensions")), "{error}");
    let straddling = quantize(&context(1), &spec(false), TensorRef::new(&values[..140], &[4, 5, 7]).unwrap());
    let error = straddling.unwrap().expert(1).unwrap_err();
    assert!(matches!(&error, Error::ShapeMismatch(w) if w.contains("whole blocks of 64")), "{error}");
}

#[test]
#[cfg(feature = "cli")]
fn the_command_says_so_too() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    qwen3_moe(48).write(&source);
    let quantized = directory.path().join("quantized");
    let run = |args: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_fourbit")).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let (from, to) = (source.to_str().unwrap(), quantized.to_str().unwrap());
    let text = run(&["quantize", from, to, "--experts", "fused4bit"]);
    assert!(text.contains("only this library reads the result"), "{text}");
    let text = run(&["verify", from, to]);
    assert!(text.contains("everything is as planned"), "{text}");
    let text = run(&["inspect", to, "--json"]);
    assert!(text.contains(DOWN) && text.contains("\"weight\""), "{text}");
    let plain = directory.path().join("plain");
    run(&["dequantize", to, plain.to_str().unwrap()]);
    let shape = Checkpoint::open(plain).unwrap();
    assert_eq!(shape.tensors()[shape.find(DOWN).unwrap()].shape, Shape::new(&[4, 64, 48]).unwrap());
}

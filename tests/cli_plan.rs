//! `fourbit plan` as text: folded listing, `--why`, `--diff`.

mod checkpoint_support;
mod cli_support;

use cli_support::{FIXTURE, checkpoint, fourbit, json, ok, tensors};
use serde_json::json;

/// A mixture of two layers with three experts each, and a dense first layer.
fn mixture() -> (tempfile::TempDir, String) {
    let mut shapes = vec![("lm_head.weight".to_owned(), vec![96, 64])];
    shapes.push(("model.embed_tokens.weight".to_owned(), vec![96, 64]));
    for layer in 0..2 {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}.weight");
        for expert in 0..3 {
            shapes.push((name(&format!("block_sparse_moe.experts.{expert}.w1")), vec![128, 64]));
        }
        shapes.push((name("block_sparse_moe.gate"), vec![3, 64]));
        shapes.push((name("input_layernorm"), vec![64]));
        shapes.push((name("self_attn.q_proj"), vec![64, 64]));
    }
    let config = json!({
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "torch_dtype": "bfloat16",
        "num_local_experts": 3, "vocab_size": 96, "tie_word_embeddings": false,
    });
    checkpoint(&config, &tensors(&shapes))
}

/// Two layers of GPT-2, whose matrices are stored transposed.
fn gpt2() -> (tempfile::TempDir, String) {
    let mut shapes = vec![("wte.weight".to_owned(), vec![96, 64]), ("wpe.weight".to_owned(), vec![32, 64])];
    for layer in 0..2 {
        shapes.push((format!("h.{layer}.attn.c_attn.weight"), vec![64, 192]));
        shapes.push((format!("h.{layer}.attn.c_attn.bias"), vec![192]));
        shapes.push((format!("h.{layer}.ln_1.weight"), vec![64]));
    }
    let config = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "torch_dtype": "float32", "vocab_size": 96,
    });
    checkpoint(&config, &tensors(&shapes))
}

/// The listing is that of the file, but for the first line, which names the directory.
#[track_caller]
fn same_text(got: &str, golden: &str) {
    let got = got.lines().skip(1).map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(got, golden.trim_end(), "got:\n{got}");
}

#[test]
fn layers_that_are_alike_are_folded() {
    same_text(&ok(&["plan", FIXTURE]), include_str!("golden/plan_tiny_llama.txt"));
}

#[test]
fn lists_within_layers_are_folded() {
    let (_place, model) = mixture();
    same_text(&ok(&["plan", &model]), include_str!("golden/plan_mixture.txt"));
}

#[test]
fn casts_and_transposed_matrices_are_named() {
    let (_place, model) = gpt2();
    same_text(&ok(&["plan", &model]), include_str!("golden/plan_gpt2.txt"));
}

#[test]
fn full_lists_every_tensor() {
    let text = ok(&["plan", FIXTURE, "--full"]);
    let plan = json(&["plan", FIXTURE, "--json"]);
    for tensor in plan["tensors"].as_array().unwrap() {
        let name = format!("\n{} ", tensor["name"].as_str().unwrap());
        let line = text.split_once(&name).and_then(|(_, rest)| rest.lines().next()).unwrap_or_default();
        for field in [&tensor["bytes_before"], &tensor["bytes_after"]] {
            let number = field.to_string();
            assert!(line.split_whitespace().any(|word| word == number), "{name}: {line}");
        }
        assert!(line.ends_with(tensor["reason"].as_str().unwrap()), "{name}: {line}");
    }
}

#[test]
fn a_device_per_tensor_divides_the_fold() {
    let limits = ["--max-memory", "0=400KiB,1=450KiB"];
    let text = ok(&[&["plan", FIXTURE, "--device-map", "fit"], &limits[..]].concat());
    let line =
        |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
    assert!(line("shape").contains("device"), "{text}");
    let blocks = text.lines().filter(|line| line.starts_with("model.layers.")).count();
    assert!(blocks >= 2, "layers of two devices: {text}");
    assert!(text.contains("device map: fit, and others for comparison"), "{text}");
}

#[test]
fn why_goes_through_the_decision() {
    let why = |args: &[&str]| ok(&[&["plan", FIXTURE, "--why"], args].concat());
    let text = why(&["model.layers.3.mlp.up_proj"]);
    assert!(text.starts_with("model.layers.3.mlp.up_proj.weight\n 1.  stored"), "{text}");
    for words in [
        "BF16 352x128, 90.11 KB in model.safetensors",
        "row \"llama\" of the table of architectures (LlamaForCausalLM), where this module is model.layers.*.mlp.up_proj",
        "transformers 5     converts: linear layer\n",
        "transformers 4.41  converts: linear layer   (not asked)",
        "nf4, block size 64, double quantization: linear layer",
        "bfloat16 (load dtype: the dtype in config.json)",
        "bits per element, statistics included",
        "no entry names it, for any reader",
        "v4.41  converts: nf4  linear layer",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let head = why(&["lm_head"]);
    assert!(head.contains("the row's output head: transformers' automatic list holds"), "{head}");
    assert!(head.contains("vLLM: \"lm_head\""), "{head}");
    let alike = why(&["q_proj"]);
    assert!(alike.contains("one of 5 that are decided alike: model.layers.0-4.self_attn.q_proj"), "{alike}");
    assert_eq!(alike, why(&["layers.*.self_attn.q_*"]));
    let skipped = why(&["layers.1.mlp.up_proj", "--skip", "layers.1"]);
    assert!(skipped.contains("portable: on top of that: skip list entry \"layers.1\""), "{skipped}");
    let replaced = why(&["layers.1.mlp.up_proj", "--skip", "up_proj", "--profile", "v4"]);
    assert!(
        replaced.contains("the given skip list, which takes the place of the automatic one: \"up_proj\""),
        "{replaced}"
    );
    let cast = why(&["norm", "--dtype", "float16"]);
    assert!(cast.contains("float16 (load dtype: the dtype asked for)"), "{cast}");
    let place = why(&["lm_head", "--device-map", "1"]);
    assert!(place.contains("device             1 (by the device map that was asked for)"), "{place}");
}

#[test]
fn why_tells_what_versions_say() {
    let (_place, model) = mixture();
    let why = json(&["plan", &model, "--why", "gate", "--json"]);
    let said: Vec<bool> =
        why["versions"].as_array().unwrap().iter().map(|v| v["converted"].as_bool().unwrap()).collect();
    assert_eq!(said, [false, true, true], "{why}");
    assert_eq!((&why["converted"], &why["alike"]), (&json!(false), &json!(2)));
    assert_eq!(
        why["versions"][0]["source"],
        "the row lists model.layers.*.block_sparse_moe.gate as no nn.Linear"
    );
    let others: Vec<(&str, bool)> = why["other_profiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| (o["profile"].as_str().unwrap(), o["converted"].as_bool().unwrap()))
        .collect();
    assert_eq!(others, [("v5", false), ("v4", true), ("v4.41", true)]);
}

#[test]
fn why_lists_candidates() {
    let refused = |name: &str| {
        let run = fourbit(&["plan", FIXTURE, "--why", name]);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{name}: {}", run.err);
        run.err
    };
    let several = refused("self_attn");
    assert!(several.contains("\"self_attn\" stands for 20 tensors that are not decided alike"), "{several}");
    assert!(several.contains("\n  model.layers.0-4.self_attn.k_proj.weight"), "{several}");
    let near = refused("selfattn.q_proj");
    assert!(near.contains("near to it are:\n  model.layers.0.self_attn.q_proj\n"), "{near}");
    assert!(refused("nothing.of.the.kind").trim_end().ends_with("is called \"nothing.of.the.kind\""));
    assert!(!refused("a\u{1b}[2Jb").contains('\u{1b}'));
}

#[test]
fn diff_names_what_differs() {
    let same = fourbit(&["plan", FIXTURE, "--diff", "v4", "v5"]);
    assert_eq!(same.code, 0);
    assert_eq!(same.out, "v4 and v5 decide alike about all 48 tensors (model type llama)\n");
    let (_place, model) = mixture();
    let run = fourbit(&["plan", &model, "--diff", "v4", "v5"]);
    assert_eq!(run.code, 1, "{}", run.err);
    let line = |start: &str| run.out.lines().find(|l| l.starts_with(start)).unwrap_or_default().to_owned();
    assert_eq!(
        line("model.layers.0-1.block_sparse_moe.experts"),
        "model.layers.0-1.block_sparse_moe.experts.0-2.w1        6  nf4: linear layer of an expert  \
         kept as BF16: expert: transformers 5 keeps experts fused in 16 bit"
    );
    assert!(line("model.layers.0-1.block_sparse_moe.gate").ends_with("never quantized"), "{}", run.out);
    assert!(run.out.contains("8 of 14 tensors are decided differently"), "{}", run.out);
    let run = fourbit(&["plan", &model, "--diff", "v4", "v5", "--json"]);
    let diff: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((run.code, diff["differences"].as_array().unwrap().len()), (1, 8));
    assert_eq!(fourbit(&["plan", &model, "--diff", "v4"]).code, 2);
    assert_eq!(fourbit(&["plan", &model, "--diff", "v4", "v6"]).code, 2);
}

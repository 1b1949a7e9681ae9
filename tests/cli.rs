//! The `fourbit` command, run as a program on the fixture: exit codes, JSON, files, words.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn fourbit(args: &[&str]) -> Run {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_fourbit")).args(args).output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    Run { code: status.code().expect("not ended by a signal"), out: text(stdout), err: text(stderr) }
}

fn ok(args: &[&str]) -> String {
    let run = fourbit(args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.err);
    run.out
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&ok(args)).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A quantized fixture in a directory of its own.
fn quantized(options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let mut args = vec!["quantize", FIXTURE, text(&out), "--quiet"];
    args.extend(options);
    assert_eq!(ok(&args), "");
    (place, out)
}

#[test]
fn plan_shares_modules_out() {
    let limits = ["--max-memory", "0=400KiB,1=450KiB,cpu=1GB"];
    let args = |how: &'static str| [vec!["plan", FIXTURE, "--device-map", how], limits.to_vec()].concat();
    let Run { code, out: shown, err } = fourbit(&args("auto"));
    assert!(code == 2 && err.contains("Some modules are dispatched on the CPU"), "{code} {err}");
    for words in ["device map: auto", "by the sizes of transformers 5.23", "for comparison", " fit "] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    ok(&[args("auto"), vec!["--offload"]].concat());
    let plan = json(&[args("fit"), vec!["--json"]].concat());
    let devices = plan["device_map"]["devices"].as_array().unwrap();
    let bytes = |device: Value| {
        devices.iter().find(|d| d["device"] == device).and_then(|d| d["bytes"].as_u64()).unwrap()
    };
    assert!(bytes(0.into()) > 0 && bytes(1.into()) > 0 && bytes("cpu".into()) == 0, "{devices:?}");
    let of_tensor = |name: &str| {
        let tensors = plan["tensors"].as_array().unwrap();
        tensors.iter().find(|t| t["name"] == name).unwrap()["device"].clone()
    };
    assert_eq!(of_tensor("model.embed_tokens.weight"), 0);
    assert_eq!(of_tensor("lm_head.weight"), 1);

    let place = tempfile::tempdir().unwrap();
    let map = place.path().join("map.json");
    std::fs::write(&map, r#"{"model": 0, "lm_head": "cpu"}"#).unwrap();
    let refused = fourbit(&["plan", FIXTURE, "--device-map", text(&map)]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("Some modules are dispatched on the CPU or the disk."), "{}", refused.err);
    let shown = ok(&["plan", FIXTURE, "--device-map", text(&map), "--offload"]);
    assert!(shown.contains("device map: explicit") && !shown.contains("comparison"), "{shown}");
    std::fs::write(&map, r#"{"model": 0}"#).unwrap();
    let refused = fourbit(&["plan", FIXTURE, "--device-map", text(&map), "--offload"]);
    assert!(refused.err.contains("does not give any device for the following parameters: lm_head.weight"));
    assert_eq!(fourbit(&["plan", FIXTURE, "--max-memory", "0=1GB"]).code, 2, "without a map");
    let refused = fourbit(&["plan", FIXTURE, "--device-map", "auto", "--max-memory", "0=1TB"]);
    assert!(refused.err.contains("is not in a valid format"), "{}", refused.err);
}

#[test]
fn plan_names_every_tensor_and_its_reason() {
    let plan = json(&["plan", FIXTURE, "--json"]);
    assert_eq!(
        (&plan["model_type"], &plan["profile"], &plan["mode"]),
        (&"llama".into(), &"portable".into(), &"table".into())
    );
    assert_eq!(plan["skip_modules"], serde_json::json!(["lm_head"]));
    let tensors = plan["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 48);
    let (mut converted, mut before, mut after) = (0, 0, 0);
    for t in tensors {
        let fields: Vec<&str> = t.as_object().unwrap().keys().map(String::as_str).collect();
        for field in ["name", "converted", "reason", "shape", "dtype", "bytes_before", "bytes_after"] {
            assert!(fields.contains(&field), "{t}");
        }
        assert!(!t["reason"].as_str().unwrap().is_empty());
        let name = t["name"].as_str().unwrap();
        assert_eq!(t["converted"], name.contains("_proj"), "{name}");
        converted += u64::from(t["converted"].as_bool().unwrap());
        before += t["bytes_before"].as_u64().unwrap();
        after += t["bytes_after"].as_u64().unwrap();
    }
    assert_eq!(converted, 35);
    let totals = &plan["totals"];
    assert_eq!(
        (totals["bytes_before"].as_u64(), totals["bytes_after"].as_u64()),
        (Some(before), Some(after))
    );
    let table = ok(&["plan", FIXTURE]);
    assert!(
        table.contains("35 tensors converted, 13 kept") && table.contains("llm_int8_skip_modules: lm_head")
    );
}

#[test]
fn quantize_writes_a_checkpoint_that_verifies_and_comes_back() {
    let (place, out) = quantized(&[]);
    let config: Value = serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    let quantization = &config["quantization_config"];
    assert_eq!(quantization["quant_method"], "bitsandbytes");
    assert_eq!(quantization["bnb_4bit_quant_type"], "nf4");
    assert_eq!(quantization["bnb_4bit_use_double_quant"], true);
    assert_eq!(quantization["bnb_4bit_compute_dtype"], "bfloat16");
    assert_eq!(quantization["llm_int8_skip_modules"], serde_json::json!(["lm_head"]));
    assert!(out.join("tokenizer_config.json").exists(), "side files are copied");

    let listing = json(&["inspect", text(&out), "--json"]);
    let weights: Vec<&Value> =
        listing["tensors"].as_array().unwrap().iter().filter(|t| t["kind"] == "weight").collect();
    assert_eq!(weights.len(), 35);
    assert!(
        weights
            .iter()
            .all(|w| w["quant_type"] == "nf4" && w["block_size"] == 64 && w["double_quant"] == true)
    );

    let report = json(&["verify", FIXTURE, text(&out), "--json"]);
    assert_eq!(report["ok"], true);
    for t in report["tensors"].as_array().unwrap().iter().filter(|t| t["found"] == "4-bit") {
        assert!(t["snr_db"].as_f64().unwrap() > 19.0, "{t}");
    }

    let back = place.path().join("back");
    ok(&["dequantize", text(&out), text(&back), "--quiet"]);
    let plain = json(&["inspect", text(&back), "--json"]);
    assert_eq!(plain["quantization_config"], Value::Null);
    let source = json(&["inspect", FIXTURE, "--json"]);
    let shapes = |v: &Value| -> Vec<(String, String, Value)> {
        let tensors = v["tensors"].as_array().unwrap().iter();
        tensors.map(|t| (t["name"].to_string(), t["dtype"].to_string(), t["shape"].clone())).collect()
    };
    assert_eq!(shapes(&plain), shapes(&source), "names, types and shapes are the source's");
}

#[test]
fn options_reach_the_bytes() {
    let (_place, out) =
        quantized(&["--quant-type", "fp4", "--block-size", "128", "--no-double-quant", "--dtype", "float16"]);
    let listing = json(&["inspect", text(&out), "--json"]);
    let tensor = |name: &str| {
        let tensors = listing["tensors"].as_array().unwrap();
        tensors.iter().find(|t| t["name"] == name).unwrap().clone()
    };
    let weight = tensor("model.layers.0.mlp.up_proj.weight");
    assert_eq!((&weight["quant_type"], &weight["block_size"]), (&"fp4".into(), &128.into()));
    assert_eq!((&weight["double_quant"], &weight["dtype"]), (&false.into(), &"float16".into()));
    assert_eq!(tensor("model.norm.weight")["dtype"], "F16");
    let (_place, skipped) = quantized(&["--skip", "model.layers.0"]);
    let listing = json(&["inspect", text(&skipped), "--json"]);
    let kinds = |prefix: &str, kind: &str| {
        let tensors = listing["tensors"].as_array().unwrap().iter();
        tensors.filter(|t| t["name"].as_str().unwrap().starts_with(prefix) && t["kind"] == kind).count()
    };
    assert_eq!((kinds("model.layers.0.", "weight"), kinds("model.layers.1.", "weight")), (0, 7));
}

#[test]
fn shards_keep_a_weight_and_its_statistics_together() {
    let (_place, out) = quantized(&["--max-shard-size", "100KB"]);
    let index: Value =
        serde_json::from_slice(&std::fs::read(out.join("model.safetensors.index.json")).unwrap()).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    let files: std::collections::BTreeSet<&str> = map.values().map(|f| f.as_str().unwrap()).collect();
    assert!(files.len() > 3, "{files:?}");
    for (name, file) in map {
        if let Some((owner, _)) = name.split_once(".weight.") {
            assert_eq!(&map[&format!("{owner}.weight")], file, "{name}");
        }
    }
    assert_eq!(json(&["verify", FIXTURE, text(&out), "--json"])["ok"], true);
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let (_a, one) = quantized(&["--threads", "1"]);
    let (_b, three) = quantized(&["--threads", "3"]);
    let read = |p: &Path| std::fs::read(p.join("model.safetensors")).unwrap();
    assert!(read(&one) == read(&three));
}

#[test]
fn verify_says_no_with_exit_code_1() {
    let (place, out) = quantized(&[]);
    let (_other, fewer) = quantized(&["--skip", "model.layers.1"]);
    // The weights of one run under the config of another.
    std::fs::copy(out.join("config.json"), fewer.join("config.json")).unwrap();
    let run = fourbit(&["verify", FIXTURE, text(&fewer)]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(
        run.out.contains("model.layers.1.mlp.up_proj.weight") && run.out.contains("7 tensor(s)"),
        "{}",
        run.out
    );
    drop(place);
}

#[test]
fn bad_usage_and_input_are_exit_code_2_with_words() {
    let (place, out) = quantized(&[]);
    let new = place.path().join("new");
    let cases: [(&[&str], &str); 9] = [
        (&["quantize", FIXTURE, text(&new), "--quant-type", "int4"], "nf4 or fp4"),
        (&["quantize", FIXTURE, text(&new), "--block-size", "48"], "32, 64, 128"),
        (&["quantize", FIXTURE, text(&new), "--max-shard-size", "5GiB"], "5GiB"),
        (&["quantize", FIXTURE, text(&new), "--device", "cuda:0"], "cpu"),
        (&["quantize", FIXTURE, text(&out)], "force"),
        (&["quantize", FIXTURE, FIXTURE, "--force"], "source"),
        (&["quantize", text(&out), text(&new)], "already quantized"),
        (&["inspect", text(&new)], "new"),
        (&["frobnicate"], "frobnicate"),
    ];
    for (args, words) in cases {
        let run = fourbit(args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.err);
        assert!(run.err.contains(words), "{args:?}: {}", run.err);
        assert_eq!(run.out, "", "{args:?}");
        assert!(!new.exists(), "{args:?} left something behind");
    }
}

#[test]
fn pickled_weights_are_refused_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("config.json"), "{\"model_type\": \"llama\"}").unwrap();
    std::fs::write(place.path().join("pytorch_model.bin"), "x").unwrap();
    let run = fourbit(&["plan", text(place.path())]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("pytorch_model.bin") && run.err.contains("safetensors"), "{}", run.err);
}

//! Opening checkpoints: files, directories, indexes, grouping, and what is refused.

mod checkpoint_support;

use std::path::Path;

use checkpoint_support::{golden_file, put, valid_image};
use fourbit::Error;
use fourbit::checkpoint::{Checkpoint, Entry, INDEX_FILE};
use fourbit::codebook::QuantType;

fn index(pairs: &[(&str, &str)]) -> Vec<u8> {
    let map: serde_json::Map<_, _> = pairs.iter().map(|(n, f)| (n.to_string(), (*f).into())).collect();
    serde_json::to_vec(&serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map})).unwrap()
}

fn shard(names: &[&str]) -> Vec<u8> {
    let tensors: Vec<_> = names.iter().map(|n| (*n, "U8", &[1u64][..], vec![n.len() as u8])).collect();
    valid_image(&tensors)
}

/// Two shards and their index.
fn sharded(directory: &Path) {
    put(directory, "model-00001-of-00002.safetensors", &shard(&["h.10.w", "h.2.w"]));
    put(directory, "model-00002-of-00002.safetensors", &shard(&["lm_head.weight", "h.1.w"]));
    let pairs = [
        ("h.10.w", "model-00001-of-00002.safetensors"),
        ("h.2.w", "model-00001-of-00002.safetensors"),
        ("h.1.w", "model-00002-of-00002.safetensors"),
        ("lm_head.weight", "model-00002-of-00002.safetensors"),
    ];
    put(directory, INDEX_FILE, &index(&pairs));
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.tensors().iter().map(|t| t.name.as_str()).collect()
}

fn refused(path: &Path, words: &str) -> Error {
    let error = Checkpoint::open(path).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    error
}

#[test]
fn a_sharded_checkpoint_opens_by_directory_and_by_index() {
    let directory = tempfile::tempdir().unwrap();
    sharded(directory.path());
    for path in [directory.path().to_owned(), directory.path().join(INDEX_FILE)] {
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!(names(&checkpoint), ["h.1.w", "h.2.w", "h.10.w", "lm_head.weight"]);
        assert_eq!(checkpoint.shards().len(), 2);
        for (i, tensor) in checkpoint.tensors().iter().enumerate() {
            assert_eq!(checkpoint.bytes(i).unwrap(), [tensor.name.len() as u8]);
            assert_eq!(checkpoint.find(&tensor.name), Some(i));
            assert_eq!(checkpoint.find_entry(&tensor.name), Some(i));
        }
        assert_eq!(checkpoint.find("h.3.w"), None);
        assert_eq!(checkpoint.config().unwrap(), None);
    }
}

#[test]
fn a_single_file_wins_over_an_index() {
    let directory = tempfile::tempdir().unwrap();
    sharded(directory.path());
    put(directory.path(), "model.safetensors", &shard(&["single"]));
    assert_eq!(names(&Checkpoint::open(directory.path()).unwrap()), ["single"]);
}

#[test]
fn links_are_followed_as_download_caches_need() {
    let directory = tempfile::tempdir().unwrap();
    let blob = put(directory.path(), "blob", &shard(&["a"]));
    let model = directory.path().join("snapshot");
    std::fs::create_dir(&model).unwrap();
    std::os::unix::fs::symlink(blob, model.join("model.safetensors")).unwrap();
    assert_eq!(names(&Checkpoint::open(&model).unwrap()), ["a"]);
}

#[test]
fn indexes_that_do_not_fit_their_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    put(root, "a.safetensors", &shard(&["x", "y"]));
    put(root, "b.safetensors", &shard(&["z"]));
    put(root, "c.safetensors", &shard(&["z"]));
    let path = root.join(INDEX_FILE);
    let with = |text: &[u8]| {
        put(root, INDEX_FILE, text);
        root.to_owned()
    };
    let error = refused(
        &with(&index(&[("x", "a.safetensors"), ("q", "gone.safetensors")])),
        "gone.safetensors: missing",
    );
    assert!(matches!(error, Error::NotFound(_)));
    refused(
        &with(&index(&[("x", "a.safetensors"), ("q", "a.safetensors")])),
        "tensor \"q\": a.safetensors does not hold it",
    );
    refused(
        &with(&index(&[("x", "b.safetensors"), ("y", "a.safetensors")])),
        "tensor \"x\": is in a.safetensors, not in b.safetensors",
    );
    refused(&with(&index(&[("z", "b.safetensors"), ("w", "c.safetensors")])), "tensor \"z\": stands in both");
    refused(&with(&index(&[("x", "../a.safetensors")])), "without a path");
    refused(&with(&index(&[("x", "/a.safetensors")])), "without a path");
    refused(&with(&index(&[("x", "pytorch_model.bin")])), "only .safetensors files are read");
    refused(&with(&index(&[])), "names no files");
    refused(&with(b"{\"metadata\":{}}"), "weight_map is missing");
    refused(&with(b"{\"weight_map\":{\"x\":1}}"), "expected a string");
    refused(
        &with(b"{\"weight_map\":{\"x\":\"a.safetensors\",\"x\":\"a.safetensors\"}}"),
        "\"x\" stands twice",
    );
    refused(&with(b"{\"weight_map\":{},\"weight_map\":{}}"), "weight_map stands twice");
    refused(&with(b"[]"), "object");
    refused(&with(b"{\"weight_map\":{\"\xff\":\"a.safetensors\"}}"), "not UTF-8");
    // What the index leaves out of a file that it names is read all the same.
    let checkpoint = Checkpoint::open(with(&index(&[("x", "a.safetensors")]))).unwrap();
    assert_eq!(names(&checkpoint), ["x", "y"]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn pipes_and_directories_are_not_opened_as_files() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("model.safetensors");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    refused(directory.path(), "not a regular file");
    refused(&pipe, "not a regular file");
    std::fs::remove_file(&pipe).unwrap();
    std::fs::create_dir(&pipe).unwrap();
    refused(directory.path(), "not a regular file");
}

#[test]
fn other_formats_are_named_with_what_to_do() {
    for (file, words) in [
        ("pytorch_model.bin", "safe_serialization=True"),
        ("pytorch_model.bin.index.json", "pickle"),
        ("consolidated.00.pth", "pickle"),
        ("tf_model.h5", "TensorFlow or Flax"),
        ("flax_model.msgpack", "TensorFlow or Flax"),
        ("model.Q4_K_M.gguf", "GGUF"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), file, b"x");
        put(directory.path(), "config.json", b"{}");
        let error = refused(directory.path(), words);
        assert!(matches!(error, Error::Unsupported(_)) && error.to_string().contains(file), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    refused(directory.path(), "no model.safetensors and no model.safetensors.index.json");
    put(directory.path(), "model-00001-of-00002.safetensors", &shard(&["a"]));
    refused(directory.path(), "incomplete");
    refused(&directory.path().join("nowhere"), "cannot open the checkpoint");
}

#[test]
fn config_is_read_beside_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = put(directory.path(), "model.safetensors", &shard(&["a"]));
    let text = "{\"model_type\": \"llama\", \"b\": 1}\n";
    put(directory.path(), "config.json", text.as_bytes());
    for path in [directory.path(), &file] {
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!(checkpoint.config_text().unwrap(), Some(text));
        assert_eq!(checkpoint.config().unwrap().unwrap()["model_type"], "llama");
    }
    let deep = "[".repeat(1 << 20);
    for (bad, words) in [("[]", "JSON object"), ("{", "EOF"), (deep.as_str(), "recursion")] {
        put(directory.path(), "config.json", bad.as_bytes());
        let error = Checkpoint::open(directory.path()).unwrap().config().unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("config.json"), "{error}");
    }
}

#[test]
fn parts_of_a_quantized_weight_are_one_entry() {
    let checkpoint = Checkpoint::open(golden_file()).unwrap();
    let weights = checkpoint.entries().iter().filter(|e| matches!(e, Entry::Weight(_))).count();
    assert_eq!(weights, 7);
    assert_eq!(checkpoint.entries().len() + weights * 5, checkpoint.tensors().len());
    let weight = checkpoint.weight_parts("model.layers.0.mlp.down_proj.weight").unwrap();
    assert_eq!(weight.quant_type, QuantType::Nf4);
    let parts: Vec<_> = weight
        .parts
        .iter()
        .map(|&(part, i)| {
            let name = &checkpoint.tensors()[i].name;
            assert_eq!(name.strip_prefix(&weight.name).unwrap().trim_start_matches('.'), part);
            part
        })
        .collect();
    let expected =
        ["", "absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4"];
    assert_eq!(parts, expected);
    let found = checkpoint.find_entry("model.layers.0.mlp.down_proj.weight").unwrap();
    assert_eq!(checkpoint.entries()[found], Entry::Weight(weight.clone()));
    assert_eq!(checkpoint.find_entry("model.layers.0.mlp.down_proj.weight.absmax"), None);
}

#[test]
fn parts_may_lie_in_different_files() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "a.safetensors", &shard(&["w", "w.quant_map"]));
    put(
        directory.path(),
        "b.safetensors",
        &shard(&["w.absmax", "w.quant_state.bitsandbytes__fp4", "w.bias"]),
    );
    put(directory.path(), INDEX_FILE, &index(&[("w", "a.safetensors"), ("w.absmax", "b.safetensors")]));
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let weight = checkpoint.weight_parts("w").unwrap();
    assert_eq!(weight.quant_type, QuantType::Fp4);
    assert_eq!(weight.parts.len(), 4);
    assert_eq!(checkpoint.entries().len(), 2);
}

#[test]
fn orphaned_parts_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    let open = |names: &[&str]| {
        put(directory.path(), "model.safetensors", &shard(names));
        Checkpoint::open(directory.path()).unwrap()
    };
    for (tensors, words) in [
        (&["w", "w.absmax"][..], "w.quant_state.bitsandbytes__nf4 (or fp4) is missing"),
        (&["w.absmax"], "the packed codes and the quant state are missing"),
        (&["w.absmax", "w.quant_state.bitsandbytes__nf4"], "the tensor of packed codes is missing"),
        (&["w", "w.quant_state.bitsandbytes__nf4", "w.quant_state.bitsandbytes__fp4"], "exactly one"),
        (&["w"], "not a quantized weight"),
        (&["v"], "no tensor named \"w\""),
    ] {
        let checkpoint = open(tensors);
        assert_eq!(checkpoint.entries().len(), tensors.len(), "orphans stay visible");
        let error = checkpoint.weight_parts("w").unwrap_err().to_string();
        assert!(error.contains(words), "{tensors:?}: {error}");
    }
}

#[test]
fn files_that_change_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path =
        put(directory.path(), "model.safetensors", &valid_image(&[("a", "U8", &[4], vec![1, 2, 3, 4])]));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let mut bytes = [0; 2];
    checkpoint.read_at(0, 2, &mut bytes).unwrap();
    assert_eq!(bytes, [3, 4]);
    assert!(matches!(checkpoint.read_at(0, 3, &mut bytes), Err(Error::InvalidArgument(_))));
    checkpoint.check_unchanged().unwrap();

    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 1).unwrap();
    let error = checkpoint.read_at(0, 2, &mut bytes).unwrap_err().to_string();
    assert!(error.contains("cut short since it was opened"), "{error}");
    assert!(matches!(checkpoint.check_unchanged(), Err(Error::InvalidState(_))));
    assert!(matches!(checkpoint.bytes(0), Err(Error::InvalidState(_))), "not mapped after the change");
}

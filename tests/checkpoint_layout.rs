//! Sharding and file layout, against huggingface_hub, transformers 4.41 and the safetensors library.

mod checkpoint_support;

use std::collections::BTreeMap;

use checkpoint_support::golden_file;
use fourbit::checkpoint::header::Header;
use fourbit::checkpoint::{
    Checkpoint, Layout, LayoutOptions, OutputTensor, ShardRule, Unit, parse_size, shard_file_name, split,
};
use fourbit::dtype::DType;
use fourbit::shape::Shape;
use proptest::prelude::*;
use serde_json::Value;

fn bytes_tensor(name: &str, len: u64) -> OutputTensor {
    OutputTensor { name: name.into(), dtype: DType::U8, shape: Shape::new(&[len]).unwrap() }
}

fn options(max_shard_size: u64, rule: ShardRule) -> LayoutOptions {
    LayoutOptions { max_shard_size, rule, ..LayoutOptions::default() }
}

#[test]
fn shards_hold_what_the_reference_puts_into_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/shard_oracle.json");
    let oracle: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = oracle["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let tensors: Vec<(&str, u64)> = case["tensors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| (t[0].as_str().unwrap(), t[1].as_u64().unwrap()))
            .collect();
        let max = match &case["max_shard_size"] {
            Value::String(text) => match (parse_size(text), &case["hub"]["error"]) {
                (Ok(max), Value::Null) => max,
                (Err(error), Value::String(expected)) => {
                    assert_eq!(format!("ValueError: {error}"), *expected);
                    continue;
                }
                (ours, theirs) => panic!("{text}: {ours:?}, but hub says {theirs}"),
            },
            number => number.as_u64().unwrap(),
        };
        let units: Vec<Unit> = tensors.iter().map(|(n, len)| Unit::plain(bytes_tensor(n, *len))).collect();
        for (key, rule) in [("hub", ShardRule::Hub), ("t441", ShardRule::V441)] {
            if case.get(key).is_none() {
                assert_eq!(key, "t441", "only its size syntax lacks decimals");
                continue;
            }
            let layout = Layout::new(&units, &options(max, rule)).unwrap();
            let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (i, (name, _)) in tensors.iter().enumerate() {
                let file = &layout.shards[layout.places(i)[0].shard].file_name;
                files.entry(file).or_default().push(name);
            }
            let expected: BTreeMap<&str, Vec<&str>> = case[key]["files"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(f, names)| {
                    (f.as_str(), names.as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect())
                })
                .collect();
            assert_eq!(files, expected, "{key}, max_shard_size {max}");
            assert_eq!(layout.total_size, case[key]["total_size"].as_u64().unwrap());
            assert_eq!(layout.index.is_some(), expected.len() > 1);
        }
    }
}

#[test]
fn a_weight_and_its_statistics_stay_together() {
    // Alone, `w` would close the first file and its statistics would open the next.
    let weight = Unit { tensors: vec![bytes_tensor("w", 60), bytes_tensor("w.absmax", 50)], parameters: 120 };
    let units = [Unit::plain(bytes_tensor("a", 30)), weight, Unit::plain(bytes_tensor("z", 80))];
    let layout = Layout::new(&units, &options(100, ShardRule::Hub)).unwrap();
    let shard = layout.places(1)[0].shard;
    assert_eq!(layout.places(1)[1].shard, shard);
    assert_ne!(layout.places(0)[0].shard, shard, "110 bytes are an oversized unit with a file of its own");
    assert_eq!(layout.shards.len(), 3);
    let index: Value = serde_json::from_str(layout.index.as_deref().unwrap()).unwrap();
    assert_eq!(index["metadata"], serde_json::json!({"total_parameters": 230, "total_size": 220}));
    assert_eq!(index["weight_map"]["w"], index["weight_map"]["w.absmax"]);
}

#[test]
fn names_of_files() {
    assert_eq!(shard_file_name(0, 1), "model.safetensors");
    assert_eq!(shard_file_name(0, 2), "model-00001-of-00002.safetensors");
    assert_eq!(shard_file_name(99_999, 100_000), "model-100000-of-100000.safetensors");
    assert!(split(&[1], 0, ShardRule::Hub).is_err());
}

#[test]
fn impossible_layouts_are_refused() {
    let shape = Shape::new(&[1 << 62]).unwrap();
    let huge = |name: &str| Unit::plain(OutputTensor { name: name.into(), dtype: DType::U8, shape });
    let units = [huge("a"), huge("b"), huge("c")];
    let error = Layout::new(&units, &LayoutOptions::default()).unwrap_err().to_string();
    assert!(error.contains("2^63"), "{error}");
    let twice = [Unit::plain(bytes_tensor("a", 1)), Unit::plain(bytes_tensor("a", 1))];
    assert!(Layout::new(&twice, &LayoutOptions::default()).unwrap_err().to_string().contains("twice"));
    let reserved = [Unit::plain(bytes_tensor("__metadata__", 1))];
    assert!(Layout::new(&reserved, &LayoutOptions::default()).is_err());
    let many: Vec<Unit> = (0..10_001).map(|i| Unit::plain(bytes_tensor(&i.to_string(), 1))).collect();
    assert!(Layout::new(&many, &options(1, ShardRule::Hub)).unwrap_err().to_string().contains("10001 files"));
}

#[test]
fn an_empty_checkpoint_is_one_file_without_tensors() {
    let layout = Layout::new(&[], &LayoutOptions::default()).unwrap();
    assert_eq!(layout.shards.len(), 1);
    let header = Header::from_image(&layout.shards[0].header).unwrap();
    assert_eq!(header.metadata, [("format".to_owned(), "pt".to_owned())]);
    assert!(header.tensors.is_empty());
}

/// The golden checkpoint's tensors as units, in natural order.
#[test]
fn the_header_of_a_real_file_is_reproduced() {
    let checkpoint = Checkpoint::open(golden_file()).unwrap();
    let units: Vec<Unit> = checkpoint
        .tensors()
        .iter()
        .map(|t| Unit::plain(OutputTensor { name: t.name.clone(), dtype: t.dtype, shape: t.shape }))
        .collect();
    let layout = Layout::new(&units, &LayoutOptions::default()).unwrap();
    let whole = std::fs::read(golden_file()).unwrap();
    assert_eq!(layout.shards[0].header, whole[..layout.shards[0].header.len()]);
    assert_eq!(layout.shards[0].file_len, whole.len() as u64);
    for (i, tensor) in checkpoint.tensors().iter().enumerate() {
        let place = layout.places(i)[0];
        assert_eq!(place.offset..place.offset + place.len, tensor.range);
    }
}

fn any_dtype() -> impl Strategy<Value = DType> {
    let all: Vec<DType> = DType::names().filter_map(DType::from_safetensors_name).collect();
    proptest::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any tensors: the file is what the safetensors library writes.
    #[test]
    fn files_equal_the_librarys(
        tensors in proptest::collection::btree_map(".{0,12}", (any_dtype(), proptest::collection::vec(0u64..4, 0..5)), 0..12)
    ) {
        let units: Vec<Unit> = tensors
            .iter()
            .filter(|(name, _)| !name.contains('\0'))
            .map(|(name, (dtype, dims))| {
                Unit::plain(OutputTensor { name: name.clone(), dtype: *dtype, shape: Shape::new(dims).unwrap() })
            })
            .collect();
        let layout = Layout::new(&units, &LayoutOptions::default()).unwrap();
        let mut ours = layout.shards[0].header.clone();
        ours.resize(layout.shards[0].file_len as usize, 0);
        let zeros = vec![0u8; 4096];
        let views = units.iter().enumerate().map(|(i, unit)| {
            let t = &unit.tensors[0];
            let dtype = serde_json::from_value(t.dtype.safetensors_name().into()).unwrap();
            let shape = t.shape.dims().iter().map(|&d| d as usize).collect();
            let data = &zeros[..layout.places(i)[0].len as usize];
            (t.name.clone(), safetensors::tensor::TensorView::new(dtype, shape, data).unwrap())
        });
        let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        prop_assert_eq!(&ours, &safetensors::serialize(views, Some(metadata)).unwrap());
        prop_assert_eq!(Header::from_image(&ours).unwrap().tensors.len(), units.len());
    }
}

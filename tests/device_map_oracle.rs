//! Device maps against those that three versions of transformers computed: sizes of modules, balanced and
//! adjusted limits, maps, and what `validate_environment` says of them. The same models under `fit`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use fourbit::device_map::{
    DeviceMap, DeviceMapOptions, Flavour, MapDevice, MaxMemory, Model, ModuleRow, ModuleTree, Placement,
    Sizes, Sizing, Strategy, TensorRow, balance, check_dispatch, groups_of_pairs, infer, parse_memory, place,
};
use fourbit::dtype::{DType, FloatType};
use fourbit::quant::{BlockSize, Geometry};
use serde_json::Value;

const FLAVOURS: [(&str, Flavour); 3] = [
    ("transformers-5.23", Flavour::V523),
    ("transformers-4.57", Flavour::V457),
    ("transformers-4.41", Flavour::V441),
];
const CASES: usize = 288;

fn oracle() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/device_map_oracle.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(|v| text(v).to_owned()).collect()
}

fn tensor(row: &Value) -> TensorRow {
    let numel = row[1].as_u64().unwrap();
    let dtype = match text(&row[2]) {
        "bf16" => DType::Bf16,
        "f16" => DType::F16,
        "f32" => DType::F32,
        "bool" => DType::Bool,
        "u8" => DType::U8,
        "i32" => DType::I32,
        "i64" => DType::I64,
        other => panic!("{other}"),
    };
    let quantized = row[3].as_u64() == Some(1);
    let geometry = Geometry { numel, block_size: BlockSize::new(64).unwrap() };
    let bytes = if quantized { geometry.part_bytes(false) } else { numel * dtype.size() as u64 };
    TensorRow { name: text(&row[0]).to_owned(), numel, dtype, quantized, tied: row[4].is_string(), bytes }
}

fn model(m: &Value, flavour: Flavour) -> Model {
    let tensors = |rows: &Value| list(rows).iter().map(tensor).collect();
    let rows = list(&m["tree"]).iter().map(|row| ModuleRow {
        path: text(&row[0]).to_owned(),
        class: text(&row[1]).to_owned(),
        parameters: tensors(&row[2]),
        buffers: tensors(&row[3]),
    });
    let tied: Vec<Vec<String>> = list(&m["tied"]).iter().map(strings).collect();
    let special = m["special_dtypes"].as_object().into_iter().flatten();
    Model {
        tree: ModuleTree::new(rows.collect()).unwrap(),
        no_split: strings(&m["no_split"]).into_iter().collect(),
        tied: match flavour {
            Flavour::V523 => {
                let pairs: Vec<_> = tied.iter().map(|pair| (pair[0].clone(), pair[1].clone())).collect();
                groups_of_pairs(&pairs)
            }
            Flavour::V457 | Flavour::V441 => tied,
        },
        not_converted: strings(&m["skip"]),
        special_dtypes: special.map(|(k, v)| (k.clone(), FloatType::parse(text(v)).unwrap())).collect(),
    }
}

fn max_memory(case: &Value) -> MaxMemory {
    let mut memory = MaxMemory::new();
    for (device, size) in case["max_memory"].as_object().unwrap() {
        let bytes = match size {
            Value::String(size) => parse_memory(size).unwrap(),
            number => number.as_u64().unwrap(),
        };
        memory.set(MapDevice::parse(device).unwrap(), bytes as f64);
    }
    memory
}

fn limits(memory: &MaxMemory) -> BTreeMap<String, f64> {
    memory.iter().map(|(device, bytes)| (device.to_string(), bytes)).collect()
}

fn numbers(value: &Value) -> BTreeMap<String, f64> {
    value.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_f64().unwrap())).collect()
}

/// The JSON reader may be off by the last bit of a fraction.
fn assert_adjusted(memory: &MaxMemory, expected: &Value, name: &str) {
    let (got, expected) = (limits(memory), numbers(expected));
    assert!(got.keys().eq(expected.keys()), "{name}");
    for (device, bytes) in &got {
        assert!((bytes - expected[device]).abs() < 1e-6, "{name}: {device} {bytes}");
    }
}

fn sorted(map: &DeviceMap) -> BTreeMap<String, MapDevice> {
    map.entries().iter().cloned().collect()
}

/// Every case as (its name, flavour, model, case).
fn for_each_case(mut check: impl FnMut(&str, Flavour, &Model, &Value)) {
    let oracle = oracle();
    let mut cases = 0;
    for (key, flavour) in FLAVOURS {
        for (name, m) in oracle[key]["models"].as_object().unwrap() {
            let model = model(m, flavour);
            for case in list(&m["cases"]) {
                check(&format!("{key} {name} {}", text(&case["name"])), flavour, &model, case);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, CASES);
}

#[test]
fn module_sizes() {
    let oracle = oracle();
    let mut compared = 0;
    for (key, flavour) in FLAVOURS {
        for (name, m) in oracle[key]["models"].as_object().unwrap() {
            let model = model(m, flavour);
            let sizes = Sizes::new(&model, flavour, Sizing::Transformers);
            let by_name: HashMap<&str, f64> = sizes.by_name(&model.tree);
            for (module, size) in numbers(&m["sizes"]) {
                assert_eq!(by_name.get(module.as_str()), Some(&size), "{key} {name} \"{module}\"");
                compared += 1;
            }
        }
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn limits_and_maps() {
    let mut wrong = Vec::new();
    for_each_case(|name, flavour, model, case| {
        let sizes = Sizes::new(model, flavour, Sizing::Transformers);
        let stated = max_memory(case);
        let balanced = match text(&case["mode"]) {
            "sequential" => stated,
            mode => balance(model, &sizes, flavour, &stated, mode == "balanced_low_0").unwrap(),
        };
        assert_eq!(limits(&balanced), numbers(&case["balanced"]), "{name}");
        assert_adjusted(&balanced.adjusted(), &case["adjusted"], name);
        let map = infer(model, &sizes, flavour, &balanced.adjusted());
        let expected = DeviceMap::from_value(&case["map"]).unwrap();
        if sorted(&map) != sorted(&expected) {
            wrong.push(format!("{name}\n  {:?}\n  {:?}", sorted(&map), sorted(&expected)));
        }
    });
    assert!(wrong.is_empty(), "{} of {CASES} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_validate_environment_says() {
    for_each_case(|name, flavour, model, case| {
        let map = DeviceMap::from_value(&case["map"]).unwrap();
        let answer = check_dispatch(&map, flavour, false, &model.not_converted);
        match case["validate"].as_str() {
            None => assert!(answer.is_ok(), "{name}: {answer:?}"),
            Some(words) => {
                let words = words.strip_prefix("ValueError: ").unwrap();
                assert!(answer.unwrap_err().to_string().starts_with(words), "{name}");
            }
        }
        assert!(check_dispatch(&map, flavour, true, &[]).is_ok());
    });
}

fn fitted(model: &Model, flavour: Flavour, memory: MaxMemory, sizing: Sizing) -> Placement {
    let options =
        DeviceMapOptions { strategy: Strategy::Fit, max_memory: Some(memory), sizing, offload: true };
    place(model, flavour, &options).unwrap()
}

/// Everything has a place, limits hold, blocks and tied groups stay together.
fn assert_sound(name: &str, model: &Model, placement: &Placement) {
    let map = &placement.map;
    map.check(&model.tree).unwrap();
    for used in &placement.devices {
        assert!(used.limit.is_none_or(|limit| used.bytes as f64 <= limit), "{name}: {used:?}");
    }
    let blocks: HashSet<&str> =
        model.tree.modules().filter(|(_, class)| model.no_split.contains(*class)).map(|(p, _)| p).collect();
    for block in blocks {
        let below = |path: &&str| path.strip_prefix(block).is_some_and(|rest| rest.starts_with('.'));
        let devices: HashSet<_> = model.tree.parameters().filter(below).map(|p| map.device_of(p)).collect();
        assert!(devices.len() <= 1, "{name}: {block} is cut");
    }
    for group in &model.tied {
        let devices: HashSet<_> = group.iter().map(|parameter| map.device_of(parameter)).collect();
        assert_eq!(devices.len(), 1, "{name}: {group:?}");
    }
}

fn offloaded(placement: &Placement) -> u64 {
    placement.devices.iter().filter(|used| used.device.is_offload()).map(|used| used.bytes).sum()
}

#[test]
fn fit_is_sound_and_offloads_no_more_than_the_reference() {
    let mut better = 0;
    for_each_case(|name, flavour, model, case| {
        let fit = fitted(model, flavour, max_memory(case), Sizing::Honest);
        assert_sound(name, model, &fit);
        let strategy = match text(&case["mode"]) {
            "sequential" => Strategy::Sequential,
            "balanced_low_0" => Strategy::BalancedLow0,
            _ => Strategy::Balanced,
        };
        let options = DeviceMapOptions {
            strategy,
            max_memory: Some(max_memory(case)),
            sizing: Sizing::Honest,
            offload: true,
        };
        let reference = place(model, flavour, &options).unwrap();
        let (ours, theirs) = (offloaded(&fit), offloaded(&reference));
        assert!(ours <= theirs, "{name}: {ours} bytes offloaded, the reference's way {theirs}");
        better += usize::from(ours < theirs);
    });
    assert!(better > 40, "{better} cases got better");
}

/// The reference puts layers on disk here while GPU 1 has room for the whole model.
#[test]
fn fit_leaves_nothing_behind_where_the_reference_does() {
    let mut left_behind = 0;
    for_each_case(|name, flavour, model, case| {
        if case["name"] != "uneven" {
            return;
        }
        let reference = DeviceMap::from_value(&case["map"]).unwrap();
        left_behind += usize::from(reference.offloads());
        // By the reference's own sizes, so that both had the same to place.
        let fit = fitted(model, flavour, max_memory(case), Sizing::Transformers);
        assert!(!fit.map.offloads(), "{name}: {:?}", fit.devices);
    });
    assert!(left_behind >= 9, "{left_behind}");
}

#[test]
fn fit_fills_equal_gpus_evenly() {
    let oracle = oracle();
    let model = model(&oracle["transformers-5.23"]["models"]["llama"], Flavour::V523);
    let fit =
        fitted(&model, Flavour::V523, MaxMemory::parse("0=60MB,1=60MB,2=60MB").unwrap(), Sizing::Honest);
    let bytes: Vec<u64> = fit.devices.iter().map(|used| used.bytes).collect();
    let (most, least) = (bytes.iter().max().unwrap(), bytes.iter().min().unwrap());
    assert!(most - least < 2_000_000, "within about a layer: {bytes:?}");
}

//! Back to floats, and checking a quantized checkpoint against its source.

mod checkpoint_support;
mod common;

use std::ops::ControlFlow;
use std::path::Path;

use checkpoint_support::{Tensor, golden_file, names, plan_of, tensor, write_checkpoint};
use common::context;
use fourbit::checkpoint::{
    Checkpoint, DequantizeTarget, Progress, SaveOptions, TensorEntry, Verdict, dequantize_checkpoint,
    quantize_checkpoint, verify,
};
use fourbit::dtype::{DType, FloatType};
use fourbit::plan::{Action, Plan};
use fourbit::quant::{BlockSize, QuantSpec, dequantize};
use fourbit::tensor::{Element, TensorMut};
use fourbit::{Error, Weight};

const BF16: FloatType = FloatType::Bf16;

fn sources() -> Vec<Tensor> {
    vec![
        tensor("embed.weight", BF16, &[100, 30], 1),
        tensor("h.0.big.weight", BF16, &[1031, 2050], 2),
        tensor("h.0.odd.weight", FloatType::F16, &[7, 37], 3),
        tensor("h.0.turned.weight", BF16, &[130, 70], 4),
        tensor("norm.weight", FloatType::F32, &[30], 5),
    ]
}

fn action(tensor: &TensorEntry) -> Action {
    match (tensor.name.starts_with("h."), tensor.dtype.float()) {
        (true, Some(dtype)) => Action::Quantize { dtype, transpose: is_transposed(&tensor.name) },
        _ => Action::Keep { dtype: tensor.dtype },
    }
}

fn is_transposed(name: &str) -> bool {
    name.contains("turned")
}

fn go(_: &Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Source and quantized directories, and the plan between them.
fn quantized(root: &Path, spec: &QuantSpec) -> (Checkpoint, Checkpoint, Plan) {
    let (source, output) = (root.join("source"), root.join("quantized"));
    write_checkpoint(&source, &sources(), false);
    let checkpoint = Checkpoint::open(&source).unwrap();
    let plan = plan_of(&checkpoint, action);
    let options = SaveOptions { max_shard_size: 300_000, ..SaveOptions::default() };
    quantize_checkpoint(&context(2), spec, &checkpoint, &plan, &output, &options, &mut go).unwrap();
    (checkpoint, Checkpoint::open(&output).unwrap(), plan)
}

fn values(checkpoint: &Checkpoint, name: &str, dtype: FloatType) -> Vec<u8> {
    fn decode<T: Element + Default>(weight: &Weight, bytes_of: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
        let mut values = vec![T::default(); weight.shape().numel() as usize];
        let mut out = TensorMut::new(&mut values, weight.shape().dims()).unwrap();
        dequantize(&context(1), weight, &mut out).unwrap();
        values.iter().flat_map(bytes_of).collect()
    }
    let weight = checkpoint.weight(name).unwrap();
    match dtype {
        FloatType::F32 => decode(&weight, |v: &f32| v.to_le_bytes().to_vec()),
        FloatType::F16 => decode(&weight, |v: &half::f16| v.to_le_bytes().to_vec()),
        FloatType::Bf16 => decode(&weight, |v: &half::bf16| v.to_le_bytes().to_vec()),
    }
}

#[test]
fn weights_become_the_tensors_they_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let spec = QuantSpec { double_quant: true, ..QuantSpec::default() };
    let (source, quantized, _) = quantized(directory.path(), &spec);
    for wanted in [None, Some(FloatType::F32), Some(FloatType::F16)] {
        let output = directory.path().join(format!("plain{wanted:?}"));
        let target = DequantizeTarget { dtype: wanted, is_transposed: &is_transposed };
        let options = SaveOptions::default();
        dequantize_checkpoint(&context(2), &quantized, &target, &output, &options, &mut go).unwrap();
        let plain = Checkpoint::open(&output).unwrap();
        assert_eq!(plain.tensors().len(), source.tensors().len());
        for (before, (i, after)) in source.tensors().iter().zip(plain.tensors().iter().enumerate()) {
            assert_eq!((&before.name, before.shape), (&after.name, after.shape));
            let expected = match wanted {
                Some(dtype) if before.dtype != DType::F32 => dtype.into(),
                _ => before.dtype,
            };
            assert_eq!(after.dtype, expected, "{}", after.name);
            let bytes = plain.bytes(i).unwrap();
            if before.name.starts_with("h.") {
                let flat = values(&quantized, &before.name, after.dtype.float().unwrap());
                let size = after.dtype.size();
                let same = match (is_transposed(&after.name), after.shape.matrix()) {
                    (true, Some((rows, columns))) => (0..rows as usize * columns as usize).all(|at| {
                        let turned = at % columns as usize * rows as usize + at / columns as usize;
                        bytes[at * size..][..size] == flat[turned * size..][..size]
                    }),
                    _ => bytes == flat,
                };
                assert!(same, "{} {wanted:?}", after.name);
            } else if after.dtype == before.dtype {
                assert_eq!(bytes, source.bytes(i).unwrap(), "{}", after.name);
            }
        }
    }
}

/// 4096 blocks of 4096: a nested block reaches further than the usual part.
#[test]
fn the_largest_blocks_are_cut_at_nested_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let block_size = BlockSize::new(4096).unwrap();
    let spec = QuantSpec { block_size, double_quant: true, ..QuantSpec::default() };
    let (_, quantized, _) = quantized(directory.path(), &spec);
    let output = directory.path().join("plain");
    let target = DequantizeTarget { dtype: None, is_transposed: &|_| false };
    dequantize_checkpoint(&context(2), &quantized, &target, &output, &SaveOptions::default(), &mut go)
        .unwrap();
    let plain = Checkpoint::open(&output).unwrap();
    let big = plain.find("h.0.big.weight").unwrap();
    assert!(plain.bytes(big).unwrap() == values(&quantized, "h.0.big.weight", BF16));
}

#[test]
fn a_real_checkpoint_becomes_plain() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(golden_file()).unwrap();
    let output = directory.path().join("plain");
    let target = DequantizeTarget { dtype: None, is_transposed: &|_| false };
    let options = SaveOptions { copy_side_files: false, ..SaveOptions::default() };
    dequantize_checkpoint(&context(2), &checkpoint, &target, &output, &options, &mut go).unwrap();
    let plain = Checkpoint::open(&output).unwrap();
    assert_eq!(plain.tensors().len(), checkpoint.entries().len());
    let down = &plain.tensors()[plain.find("model.layers.0.mlp.down_proj.weight").unwrap()];
    assert_eq!((down.dtype, down.shape.dims()), (DType::Bf16, &[128, 192][..]));

    let nothing =
        dequantize_checkpoint(&context(1), &plain, &target, &directory.path().join("x"), &options, &mut go);
    assert!(nothing.unwrap_err().to_string().contains("nothing to dequantize"));
    assert_eq!(names(directory.path()), ["plain"]);
}

#[test]
fn quant_states_that_claim_too_much_reserve_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("model.safetensors");
    let state = r#"{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [1099511627776]}"#;
    let part = |name: &str, dtype: &str, dims: u64, len: usize, start: usize| {
        format!(
            "\"w{name}\":{{\"dtype\":\"{dtype}\",\"shape\":[{dims}],\"data_offsets\":[{start},{}]}}",
            start + len
        )
    };
    let header = format!(
        "{{{},{},{},{}}}",
        part(".absmax", "F32", 1, 4, 0),
        part(".quant_map", "F32", 16, 64, 4),
        part("", "U8", 32, 32, 68),
        part(".quant_state.bitsandbytes__nf4", "U8", state.len() as u64, state.len(), 100),
    );
    let data = [vec![0; 100], state.as_bytes().to_vec()].concat();
    std::fs::write(&source, checkpoint_support::image(&header, &data)).unwrap();
    let checkpoint = Checkpoint::open(&source).unwrap();
    let target = DequantizeTarget { dtype: None, is_transposed: &|_| false };
    let output = directory.path().join("out");
    let result =
        dequantize_checkpoint(&context(1), &checkpoint, &target, &output, &SaveOptions::default(), &mut go);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Format(_)), "{error}");
    assert!(error.to_string().contains("weight \"w\": packed codes: 32 bytes do not fit"), "{error}");
    assert!(!output.exists());
}

fn verdicts(source: &Checkpoint, quantized: &Checkpoint, plan: &Plan) -> Vec<(String, Verdict)> {
    let context = context(2);
    let checks = verify(&context, source, quantized, plan).unwrap();
    checks.map(|c| c.unwrap()).map(|c| (c.name, c.verdict)).collect()
}

#[test]
fn a_faithful_result_is_verified_with_its_errors() {
    let directory = tempfile::tempdir().unwrap();
    let (source, quantized, plan) = quantized(directory.path(), &QuantSpec::default());
    let found = verdicts(&source, &quantized, &plan);
    assert_eq!(found.len(), 5);
    for (name, verdict) in &found {
        assert!(verdict.is_as_planned(), "{name}: {verdict:?}");
        match verdict {
            // NF4 on such values: around 20 dB, whichever way the weight is stored.
            Verdict::Converted(error) => {
                assert!((17.0..25.0).contains(&error.snr_db) && error.rms < error.max, "{name}: {error:?}");
            }
            other => assert_eq!((other, name.starts_with("h.")), (&Verdict::Kept, false), "{name}"),
        }
    }
}

#[test]
fn what_is_not_as_planned_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (source, quantized, plan) = quantized(root, &QuantSpec::default());
    let verdict = |quantized: &Checkpoint, plan: &Plan, name: &str| {
        let found = verdicts(&source, quantized, plan);
        found.into_iter().find(|(n, _)| n == name).unwrap().1
    };
    let different = |verdict: Verdict, words: &str| match verdict {
        Verdict::Different(text) => assert!(text.contains(words), "{text}"),
        other => panic!("{other:?}"),
    };

    // The plan wants something else.
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        changed
    };
    let bf16 = Action::Keep { dtype: DType::Bf16 };
    different(
        verdict(&quantized, &with(&|p| p.entries[1].action = bf16), "h.0.big.weight"),
        "is a 4-bit weight",
    );
    different(verdict(&quantized, &with(&|p| p.entries[4].action = bf16), "norm.weight"), "was to be BF16");
    let quantize = Action::Quantize { dtype: BF16, transpose: false };
    different(
        verdict(&quantized, &with(&|p| p.entries[0].action = quantize), "embed.weight"),
        "not a quantized weight",
    );
    different(
        verdict(&quantized, &with(&|p| p.entries[3].action = quantize), "h.0.turned.weight"),
        "[70, 130]",
    );
    different(verdict(&quantized, &with(&|p| p.entries[2].action = quantize), "h.0.odd.weight"), "float16");

    // The result lacks a tensor, has one more, or has other values.
    let mut tensors = sources();
    tensors.remove(0);
    tensors.push(tensor("extra.weight", BF16, &[2], 1));
    tensors.iter_mut().find(|t| t.name == "norm.weight").unwrap().bytes[119] ^= 1;
    write_checkpoint(&root.join("other"), &tensors, false);
    let other = Checkpoint::open(root.join("other")).unwrap();
    assert_eq!(verdict(&other, &plan, "embed.weight"), Verdict::Missing);
    assert_eq!(verdict(&other, &plan, "extra.weight"), Verdict::Unexpected);
    different(verdict(&other, &plan, "norm.weight"), "values");
    different(verdict(&other, &plan, "h.0.big.weight"), "no quant state");
}

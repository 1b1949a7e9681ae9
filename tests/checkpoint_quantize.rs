//! Whole checkpoints to 4 bits: what each tensor becomes, and what happens when something goes wrong.

mod checkpoint_support;
mod common;

use std::ops::ControlFlow;
use std::path::Path;

use checkpoint_support::{Tensor, golden_file, names, plan_of, put, tensor, write_checkpoint};
use common::context;
use fourbit::checkpoint::{
    Checkpoint, CheckpointBuilder, Entry, Phase, Progress, SaveOptions, SaveReport, TensorEntry,
    quantize_checkpoint,
};
use fourbit::codebook::{QuantType, Rule};
use fourbit::dtype::{DType, FloatType};
use fourbit::plan::{Action, Plan};
use fourbit::quant::{BlockSize, QuantSpec, Storage, quantize};
use fourbit::shape::Shape;
use fourbit::tensor::TensorRef;
use fourbit::{Error, Result, Weight};

const BF16: FloatType = FloatType::Bf16;

/// Every kind of tensor: one chunk and several, odd counts, blocks that straddle rows, empty ones,
/// several source types, stored transposed, to be kept, to be cast.
fn tensors() -> Vec<Tensor> {
    let positions: Vec<u8> = (0..7i64).flat_map(i64::to_le_bytes).collect();
    let shape = Shape::new(&[7]).unwrap();
    vec![
        tensor("embed.weight", BF16, &[700, 900], 1),
        tensor("h.0.big.weight", BF16, &[515, 1031], 2),
        tensor("h.0.odd.weight", BF16, &[7, 37], 3),
        tensor("h.0.empty.weight", BF16, &[0, 64], 4),
        tensor("h.0.f32.weight", FloatType::F32, &[300, 1000], 5),
        tensor("h.0.f16.weight", FloatType::F16, &[64, 64], 6),
        tensor("h.0.rank3.weight", BF16, &[3, 10, 50], 7),
        tensor("h.10.turned.weight", FloatType::F32, &[1100, 2000], 8),
        tensor("h.10.turned_small.weight", BF16, &[33, 65], 9),
        tensor("h.2.norm.weight", FloatType::F32, &[900], 10),
        tensor("h.2.bias", FloatType::F16, &[5], 11),
        Tensor { name: "position_ids", dtype: DType::I64, shape, bytes: positions },
    ]
}

fn action(tensor: &TensorEntry) -> Action {
    match tensor.name.as_str() {
        "embed.weight" | "position_ids" => Action::Keep { dtype: tensor.dtype },
        "h.2.norm.weight" | "h.2.bias" => Action::Keep { dtype: DType::Bf16 },
        "h.0.f16.weight" => Action::Quantize { dtype: FloatType::F16, transpose: false },
        name => Action::Quantize { dtype: BF16, transpose: name.contains("turned") },
    }
}

fn convert(source: &Path, output: &Path, spec: &QuantSpec, threads: usize, max: u64) -> Result<SaveReport> {
    let checkpoint = Checkpoint::open(source)?;
    let plan = plan_of(&checkpoint, action);
    let options = SaveOptions { max_shard_size: max, ..SaveOptions::default() };
    let mut progress = |_: &Progress<'_>| ControlFlow::Continue(());
    quantize_checkpoint(&context(threads), spec, &checkpoint, &plan, output, &options, &mut progress)
}

fn specs() -> impl Iterator<Item = QuantSpec> {
    let both = [QuantType::Nf4, QuantType::Fp4];
    let plain = both.into_iter().flat_map(|quant_type| {
        [false, true].map(|double_quant| QuantSpec { quant_type, double_quant, ..QuantSpec::default() })
    });
    let other = QuantSpec {
        block_size: BlockSize::new(4096).unwrap(),
        double_quant: true,
        rule: Rule::BnbCuda,
        storage: Storage::U8,
        ..QuantSpec::default()
    };
    plain.chain([other])
}

/// What quantizing one tensor on its own gives.
fn alone(spec: &QuantSpec, tensor: &Tensor, dtype: FloatType, transpose: bool) -> Weight {
    let size = tensor.dtype.size();
    let mut bytes = tensor.bytes.clone();
    let mut shape = tensor.shape;
    if transpose {
        let (rows, columns) = shape.matrix().unwrap();
        let (rows, columns) = (rows as usize, columns as usize);
        for column in 0..columns {
            for row in 0..rows {
                let (from, to) = ((row * columns + column) * size, (column * rows + row) * size);
                bytes[to..to + size].copy_from_slice(&tensor.bytes[from..from + size]);
            }
        }
        shape = Shape::new(&[columns as u64, rows as u64]).unwrap();
    }
    if tensor.dtype == DType::F32 {
        let cast = |b: &[u8; 4]| half::bf16::from_f32(f32::from_le_bytes(*b)).to_le_bytes();
        bytes = bytes.as_chunks().0.iter().flat_map(cast).collect();
    }
    let source = TensorRef::from_bytes(&bytes, dtype.into(), shape).unwrap();
    quantize(&context(1), spec, source).unwrap()
}

#[test]
fn every_tensor_becomes_what_it_becomes_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (source, tensors) = (directory.path().join("source"), tensors());
    write_checkpoint(&source, &tensors, true);
    for (i, spec) in specs().enumerate() {
        let output = directory.path().join(format!("out{i}"));
        let report = convert(&source, &output, &spec, 2, u64::MAX).unwrap();
        assert_eq!((report.shards, report.files.len()), (1, 1));
        let result = Checkpoint::open(&output).unwrap();
        assert_eq!(result.entries().len(), tensors.len());
        for tensor in &tensors {
            let index = Checkpoint::open(&source).unwrap().find(tensor.name).unwrap();
            match action(&Checkpoint::open(&source).unwrap().tensors()[index]) {
                Action::Quantize { dtype, transpose } => {
                    let expected = alone(&spec, tensor, dtype, transpose);
                    let actual = result.weight(tensor.name).unwrap();
                    for (a, b) in actual.parts().zip(expected.parts()) {
                        let place = format!("{} {}", tensor.name, b.name);
                        assert_eq!((a.name, a.dtype, a.shape), (b.name, b.dtype, b.shape), "{place}");
                        assert!(a.bytes == b.bytes, "{place}: {:?}", String::from_utf8_lossy(a.bytes));
                    }
                    assert_eq!(actual.parts().count(), expected.parts().count());
                }
                Action::Keep { dtype } => {
                    let found = result.find(tensor.name).unwrap();
                    assert_eq!(result.tensors()[found].dtype, dtype);
                    let expected: Vec<u8> = match tensor.name {
                        "h.2.norm.weight" => {
                            let floats = tensor.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
                            floats.flat_map(|v| half::bf16::from_f32(v).to_le_bytes()).collect()
                        }
                        "h.2.bias" => {
                            let halves = tensor.bytes.as_chunks().0.iter();
                            let floats = halves.map(|b| half::f16::from_le_bytes(*b).to_f32());
                            floats.flat_map(|v| half::bf16::from_f32(v).to_le_bytes()).collect()
                        }
                        _ => tensor.bytes.clone(),
                    };
                    assert_eq!(result.bytes(found).unwrap(), expected, "{}", tensor.name);
                }
            }
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    write_checkpoint(&source, &tensors(), false);
    let spec = QuantSpec { double_quant: true, ..QuantSpec::default() };
    let files: Vec<Vec<u8>> = [1, 2, 5]
        .iter()
        .map(|&threads| {
            let output = directory.path().join(threads.to_string());
            convert(&source, &output, &spec, threads, u64::MAX).unwrap();
            std::fs::read(output.join("model.safetensors")).unwrap()
        })
        .collect();
    assert!(files.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_weight_and_its_statistics_share_a_file_whatever_the_shard_size() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    write_checkpoint(&source, &tensors(), false);
    let spec = QuantSpec { double_quant: true, ..QuantSpec::default() };
    for max in [1, 20_000, 160_000, 400_000, 1_300_000] {
        let output = directory.path().join(max.to_string());
        let report = convert(&source, &output, &spec, 2, max).unwrap();
        let result = Checkpoint::open(&output).unwrap();
        assert_eq!(result.shards().len(), report.shards);
        let mut sizes = vec![(0, 0); report.shards];
        for entry in result.entries() {
            let indices: Vec<usize> = match entry {
                Entry::Tensor(index) => vec![*index],
                Entry::Weight(weight) => weight.parts.iter().map(|&(_, index)| index).collect(),
            };
            let shard = result.tensors()[indices[0]].shard;
            assert!(indices.iter().all(|&i| result.tensors()[i].shard == shard), "{max}");
            sizes[shard].0 += 1;
            sizes[shard].1 += indices.iter().map(|&i| result.tensors()[i].byte_len()).sum::<u64>();
        }
        assert!(sizes.iter().all(|&(entries, bytes)| bytes <= max || entries == 1), "{max}: {sizes:?}");
        assert_eq!(sizes.iter().map(|s| s.1).sum::<u64>(), report.total_size);
    }
}

/// A real checkpoint, read and written again: by parts, and by whole weights.
#[test]
fn a_quantized_checkpoint_is_copied_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(golden_file()).unwrap();
    let keep = plan_of(&checkpoint, |t| Action::Keep { dtype: t.dtype });
    let copied = directory.path().join("copied");
    let options = SaveOptions { copy_side_files: false, ..SaveOptions::default() };
    let mut progress = |_: &Progress<'_>| ControlFlow::Continue(());
    let spec = QuantSpec::default();
    quantize_checkpoint(&context(2), &spec, &checkpoint, &keep, &copied, &options, &mut progress).unwrap();

    let mut builder = CheckpointBuilder::default();
    for entry in checkpoint.entries() {
        let name = checkpoint.entry_name(entry);
        match entry {
            Entry::Weight(_) => builder.add_weight(name, &checkpoint.weight(name).unwrap()).unwrap(),
            Entry::Tensor(i) => {
                let tensor = &checkpoint.tensors()[*i];
                let bytes = fourbit::memory::Bytes::copy_of(checkpoint.bytes(*i).unwrap()).unwrap();
                builder.add_tensor(name, tensor.dtype, tensor.shape, bytes);
            }
        }
    }
    let rebuilt = directory.path().join("rebuilt");
    builder.write(&rebuilt, &options).unwrap();
    let golden = std::fs::read(golden_file()).unwrap();
    for output in [copied, rebuilt] {
        assert!(std::fs::read(output.join("model.safetensors")).unwrap() == golden, "{output:?}");
    }

    let quantize_again = plan_of(&checkpoint, |t| match t.dtype {
        DType::U8 => Action::Keep { dtype: DType::U8 },
        _ => Action::Quantize { dtype: BF16, transpose: false },
    });
    let output = directory.path().join("twice");
    let result = quantize_checkpoint(
        &context(1),
        &spec,
        &checkpoint,
        &quantize_again,
        &output,
        &options,
        &mut progress,
    );
    assert!(result.unwrap_err().to_string().contains("quantized already"));
    assert!(!output.exists());
}

/// A single source of two bf16 weights, to break in various ways.
fn small(directory: &Path) -> (std::path::PathBuf, Checkpoint) {
    let source = directory.join("source");
    write_checkpoint(
        &source,
        &[tensor("a.weight", BF16, &[600, 600], 1), tensor("b.weight", BF16, &[64, 64], 2)],
        false,
    );
    let checkpoint = Checkpoint::open(&source).unwrap();
    (source.join("model.safetensors"), checkpoint)
}

fn all(_: &TensorEntry) -> Action {
    Action::Quantize { dtype: BF16, transpose: false }
}

fn double() -> QuantSpec {
    QuantSpec { double_quant: true, ..QuantSpec::default() }
}

#[test]
fn cancelling_at_any_time_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (_, checkpoint) = small(directory.path());
    let plan = plan_of(&checkpoint, all);
    let output = directory.path().join("out");
    let mut calls = 0;
    let mut reported = Vec::new();
    loop {
        let mut left = calls;
        let mut progress = |p: &Progress<'_>| {
            reported.push((p.phase, p.done, p.total));
            left -= 1;
            if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let options = SaveOptions::default();
        // One thread: as many calls as there can be.
        match quantize_checkpoint(
            &context(1),
            &double(),
            &checkpoint,
            &plan,
            &output,
            &options,
            &mut progress,
        ) {
            Err(Error::Cancelled(_)) => assert_eq!(names(directory.path()), ["source"]),
            Err(error) => panic!("{error}"),
            Ok(_) => break,
        }
        calls += 1;
        reported.clear();
    }
    assert!(calls >= 2, "both phases report");
    let total = 2 * (600 * 600 + 64 * 64) * 2;
    assert_eq!(reported.first().map(|r| r.0), Some(Phase::Scan));
    assert_eq!(reported.last(), Some(&(Phase::Write, total, total)));
    assert!(reported.is_sorted_by_key(|r| r.1));
    assert!(reported.iter().all(|r| r.2 == total));
}

/// Runs with a progress function that does `harm` once, when the phase begins to report.
fn harmed(checkpoint: &Checkpoint, output: &Path, phase: Phase, harm: impl FnOnce()) -> Error {
    let plan = plan_of(checkpoint, all);
    let mut harm = Some(harm);
    let mut progress = |p: &Progress<'_>| {
        if p.phase == phase
            && let Some(harm) = harm.take()
        {
            harm();
        }
        ControlFlow::Continue(())
    };
    let options = SaveOptions::default();
    quantize_checkpoint(&context(1), &double(), checkpoint, &plan, output, &options, &mut progress)
        .unwrap_err()
}

#[test]
fn a_source_that_changes_meanwhile_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out");
    let (file, checkpoint) = small(directory.path());
    let error = harmed(&checkpoint, &output, Phase::Scan, || {
        let open = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        open.set_len(300_000).unwrap();
    });
    assert!(matches!(error, Error::Format(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("cut short since it was opened") && text.contains("model.safetensors"), "{text}");
    assert_eq!(names(directory.path()), ["source"]);

    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    let (file, checkpoint) = small(directory.path());
    let error = harmed(&checkpoint, &output, Phase::Scan, || {
        let mut bytes = std::fs::read(&file).unwrap();
        let end = bytes.len() - 1;
        bytes[end] ^= 0x40;
        std::fs::write(&file, bytes).unwrap();
    });
    assert!(matches!(error, Error::InvalidState(_)), "{error}");
    assert!(error.to_string().contains("changed"), "{error}");
    assert_eq!(names(directory.path()), ["source"]);
}

#[test]
fn a_full_or_forbidden_output_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (_, checkpoint) = small(directory.path());
    let plan = plan_of(&checkpoint, all);
    let mut progress = |_: &Progress<'_>| ControlFlow::Continue(());
    let mut run = |output: &Path| {
        let options = SaveOptions::default();
        quantize_checkpoint(&context(1), &double(), &checkpoint, &plan, output, &options, &mut progress)
            .unwrap_err()
            .to_string()
    };
    let occupied = directory.path().join("occupied");
    std::fs::create_dir(&occupied).unwrap();
    put(&occupied, "precious.txt", b"x");
    assert!(run(&occupied).contains("holds precious.txt already"));
    assert!(run(&directory.path().join("source")).contains("must not be the directory of the source"));
    assert!(run(Path::new("/proc/nowhere/out")).contains("cannot create"));
}

fn refused(change: impl FnOnce(&mut Plan), words: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (_, checkpoint) = small(directory.path());
    let mut plan = plan_of(&checkpoint, all);
    change(&mut plan);
    let output = directory.path().join("out");
    let spec = QuantSpec { storage: Storage::F32, ..QuantSpec::default() };
    let mut progress = |_: &Progress<'_>| ControlFlow::Continue(());
    let options = SaveOptions::default();
    let error = quantize_checkpoint(&context(1), &spec, &checkpoint, &plan, &output, &options, &mut progress);
    let text = error.unwrap_err().to_string();
    assert!(text.contains(words), "{text}");
    assert!(!output.exists());
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    refused(|p| p.entries[1].source.name = "c.weight".into(), "tensor \"c.weight\": not in the checkpoint");
    refused(|p| p.entries.truncate(1), "tensor \"b.weight\" of the checkpoint is missing");
    refused(|p| p.entries.push(p.entries[0].clone()), "tensor \"a.weight\": stands twice");
    refused(|p| p.entries[0].source.dtype = DType::F16, "is BF16 [600, 600] in the checkpoint, but F16");
    refused(|p| p.entries[0].source.shape = Shape::new(&[360_000]).unwrap(), "in the plan");
    refused(|p| p.entries[0].action = Action::Keep { dtype: DType::I64 }, "cannot be stored as I64");
}

#[test]
fn storage_that_does_not_divide_the_codes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    write_checkpoint(&source, &[tensor("a.weight", BF16, &[3, 3], 1)], false);
    let checkpoint = Checkpoint::open(&source).unwrap();
    let plan = plan_of(&checkpoint, all);
    let spec = QuantSpec { storage: Storage::F32, ..QuantSpec::default() };
    let mut progress = |_: &Progress<'_>| ControlFlow::Continue(());
    let options = SaveOptions::default();
    let output = directory.path().join("out");
    let error = quantize_checkpoint(&context(1), &spec, &checkpoint, &plan, &output, &options, &mut progress);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("tensor \"a.weight\"") && text.contains("use uint8"), "{text}");
}

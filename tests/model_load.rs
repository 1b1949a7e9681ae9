//! A checkpoint loaded into memory: the same bytes as converting it writes, nothing copied that need not
//! be, and what is left on the disk made when it is asked for.

mod checkpoint_support;
mod common;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use checkpoint_support::{Tensor, golden_file, plan_of, tensor, write_checkpoint};
use common::context;
use fourbit::checkpoint::{
    Checkpoint, LoadOptions, Model, Phase, Progress, SaveOptions, TensorEntry, quantize_checkpoint,
};
use fourbit::device_map::MapDevice;
use fourbit::dtype::{DType, FloatType};
use fourbit::memory::AlignedBytes;
use fourbit::plan::{Action, Plan};
use fourbit::quant::QuantSpec;
use fourbit::shape::Shape;
use fourbit::tensor::{RawTensor, TensorMut};
use fourbit::{Error, Result, Weight};

const BF16: FloatType = FloatType::Bf16;

/// One chunk and several, odd counts, other types, stored transposed, empty, kept, cast.
fn tensors() -> Vec<Tensor> {
    let positions: Vec<u8> = (0..7i64).flat_map(i64::to_le_bytes).collect();
    vec![
        tensor("embed.weight", BF16, &[70, 90], 1),
        tensor("h.0.big.weight", BF16, &[515, 1031], 2),
        tensor("h.0.odd.weight", BF16, &[7, 37], 3),
        tensor("h.0.empty.weight", BF16, &[0, 64], 4),
        tensor("h.0.f32.weight", FloatType::F32, &[300, 1000], 5),
        tensor("h.0.f16.weight", FloatType::F16, &[64, 64], 6),
        tensor("h.0.rank3.weight", BF16, &[3, 10, 50], 7),
        tensor("h.10.turned.weight", FloatType::F32, &[1100, 2000], 8),
        tensor("h.2.norm.weight", FloatType::F32, &[900], 10),
        tensor("h.2.big_cast.weight", FloatType::F32, &[900, 700], 11),
        Tensor {
            name: "position_ids",
            dtype: DType::I64,
            shape: Shape::new(&[7]).unwrap(),
            bytes: positions,
        },
    ]
}

fn action(tensor: &TensorEntry) -> Action {
    match tensor.name.as_str() {
        "embed.weight" | "position_ids" => Action::Keep { dtype: tensor.dtype },
        "h.2.norm.weight" | "h.2.big_cast.weight" => Action::Keep { dtype: DType::Bf16 },
        "h.0.f16.weight" => Action::Quantize { dtype: FloatType::F16, transpose: false },
        name => Action::Quantize { dtype: BF16, transpose: name.contains("turned") },
    }
}

fn spec(double_quant: bool) -> QuantSpec {
    QuantSpec { double_quant, ..QuantSpec::default() }
}

fn source(directory: &Path) -> Arc<Checkpoint> {
    let path = directory.join("source");
    write_checkpoint(&path, &tensors(), true);
    Arc::new(Checkpoint::open(path).unwrap())
}

fn go_on(_: &Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn load(checkpoint: &Arc<Checkpoint>, plan: &Plan, double_quant: bool) -> Result<Model> {
    Model::load(&context(2), &spec(double_quant), checkpoint, plan, &LoadOptions::default(), &mut go_on)
}

fn converted(directory: &Path, checkpoint: &Checkpoint, plan: &Plan, double_quant: bool) -> Checkpoint {
    let output = directory.join(format!("out-{double_quant}"));
    let options = SaveOptions::default();
    quantize_checkpoint(&context(1), &spec(double_quant), checkpoint, plan, &output, &options, &mut go_on)
        .unwrap();
    Checkpoint::open(output).unwrap()
}

fn same_weight(a: &Weight, b: &Weight, name: &str) {
    assert_eq!((a.shape(), a.dtype()), (b.shape(), b.dtype()), "{name}");
    for (a, b) in a.parts().zip(b.parts()) {
        assert_eq!((a.name, a.dtype, a.shape, a.bytes), (b.name, b.dtype, b.shape, b.bytes), "{name}");
    }
}

/// The tensor as [`Model::read`] copies it.
fn read(model: &Model, name: &str, dtype: DType, shape: Shape) -> Result<Vec<u8>> {
    let mut bytes = AlignedBytes::zeroed_u64(shape.numel() * dtype.size() as u64).unwrap();
    let raw = RawTensor::new(bytes.as_mut_slice().as_mut_ptr(), dtype, shape, None).unwrap();
    // SAFETY: `bytes` was sized for the tensor, and nobody else touches it.
    model.read(name, &mut unsafe { TensorMut::from_raw(raw) })?;
    Ok(bytes.as_slice().to_vec())
}

#[test]
fn a_loaded_model_has_the_bytes_that_converting_writes() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = source(directory.path());
    let plan = plan_of(&checkpoint, action);
    for double_quant in [false, true] {
        let model = load(&checkpoint, &plan, double_quant).unwrap();
        let written = converted(directory.path(), &checkpoint, &plan, double_quant);
        assert_eq!(model.entries().len(), written.entries().len());
        for (i, (entry, stored)) in model.entries().iter().zip(written.entries()).enumerate() {
            assert_eq!(entry.name, written.entry_name(stored));
            assert_eq!(model.find(&entry.name), Some(i));
            assert_eq!(entry.is_weight(), written.is_weight(&entry.name), "{}", entry.name);
            if entry.is_weight() {
                let weight = model.weight(&entry.name).unwrap();
                same_weight(&weight, &written.weight(&entry.name).unwrap(), &entry.name);
                assert_eq!((entry.shape, entry.dtype), (weight.shape(), weight.dtype().into()));
                let state = weight.parts().last().unwrap().bytes.len() as u64;
                assert_eq!(entry.byte_size, weight.byte_size() - state);
                assert!(matches!(model.tensor(&entry.name), Err(Error::InvalidArgument(_))));
            } else {
                let tensor = &written.tensors()[written.find(&entry.name).unwrap()];
                assert_eq!((entry.dtype, entry.shape), (tensor.dtype, tensor.shape), "{}", entry.name);
                assert_eq!(entry.byte_size, tensor.byte_len());
                let view = model.tensor(&entry.name).unwrap();
                let mut bytes = vec![0; tensor.byte_len() as usize];
                view.pack_into(&mut bytes);
                assert_eq!(
                    bytes,
                    written.bytes(written.find(&entry.name).unwrap()).unwrap(),
                    "{}",
                    entry.name
                );
                assert_eq!(read(&model, &entry.name, entry.dtype, entry.shape).unwrap(), bytes);
                assert!(matches!(model.weight(&entry.name), Err(Error::InvalidArgument(_))));
            }
        }
        assert!(matches!(model.weight("nothing"), Err(Error::NotFound(_))));
        assert!(matches!(model.tensor("nothing"), Err(Error::NotFound(_))));
    }
}

#[test]
fn what_is_stored_as_wanted_is_mapped_and_not_copied() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = source(directory.path());
    let model = load(&checkpoint, &plan_of(&checkpoint, action), false).unwrap();
    let mapped = checkpoint.bytes(checkpoint.find("embed.weight").unwrap()).unwrap().as_ptr();
    assert_eq!(model.tensor("embed.weight").unwrap().raw().data.cast_const(), mapped);

    let quantized = Arc::new(Checkpoint::open(golden_file()).unwrap());
    let plan = quantized.plan_as_stored().unwrap();
    let model = Model::load(
        &context(1),
        &spec(false),
        &quantized,
        &plan,
        // Nothing is allocated.
        &LoadOptions { max_memory: Some(0) },
        &mut |_| panic!("there is nothing to do"),
    )
    .unwrap();
    let mut weights = 0;
    for entry in model.entries() {
        let mapped = quantized.bytes(quantized.find(&entry.name).unwrap()).unwrap().as_ptr();
        if entry.is_weight() {
            let weight = model.weight(&entry.name).unwrap();
            assert_eq!(weight.parts().next().unwrap().bytes.as_ptr(), mapped, "{}", entry.name);
            weights += 1;
        } else {
            assert_eq!(model.tensor(&entry.name).unwrap().raw().data.cast_const(), mapped);
        }
    }
    assert_eq!(weights, 7);
}

/// The same plan with everything, or one tensor, on a device.
fn on(plan: &Plan, device: MapDevice, only: Option<&str>) -> Plan {
    let mut plan = plan.clone();
    for entry in &mut plan.entries {
        let moved = only.is_none_or(|name| entry.source.name == name);
        entry.device = Some(if moved { device } else { MapDevice::Cpu });
    }
    plan
}

#[test]
fn what_is_planned_on_the_disk_is_made_when_asked_for_and_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = source(directory.path());
    let plan = plan_of(&checkpoint, action);
    let kept = load(&checkpoint, &on(&plan, MapDevice::Cpu, None), true).unwrap();
    let options = LoadOptions { max_memory: Some(0) };
    let disk = on(&plan, MapDevice::Disk, None);
    let mut nothing = |_: &Progress<'_>| -> ControlFlow<()> { panic!("there is nothing to do") };
    let model = Model::load(&context(2), &spec(true), &checkpoint, &disk, &options, &mut nothing).unwrap();
    for (entry, other) in model.entries().iter().zip(kept.entries()) {
        assert_eq!((entry.device, other.device), (Some(MapDevice::Disk), Some(MapDevice::Cpu)));
        let of = |e: &fourbit::checkpoint::ModelEntry| (e.shape, e.dtype, e.byte_size, e.is_weight());
        assert_eq!(of(entry), of(other), "{}", entry.name);
        if entry.is_weight() {
            let weight = model.weight(&entry.name).unwrap();
            same_weight(&weight, &kept.weight(&entry.name).unwrap(), &entry.name);
            let codes = |w: &Weight| w.parts().next().unwrap().bytes.as_ptr();
            let again = model.weight(&entry.name).unwrap();
            assert!(entry.shape.numel() == 0 || codes(&again) != codes(&weight), "it is not kept");
        } else {
            let expected = read(&kept, &entry.name, entry.dtype, entry.shape).unwrap();
            assert_eq!(read(&model, &entry.name, entry.dtype, entry.shape).unwrap(), expected);
        }
    }
    assert!(model.tensor("embed.weight").is_ok(), "stored as wanted: mapped all the same");
    let words = model.tensor("h.2.norm.weight").unwrap_err();
    assert!(matches!(&words, Error::InvalidState(w) if w.contains("h.2.norm.weight")), "{words}");
}

#[test]
fn other_devices_and_too_little_memory_are_refused_before_anything_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = source(directory.path());
    let plan = plan_of(&checkpoint, action);
    for (device, name) in [(MapDevice::Gpu(1), "1"), (MapDevice::Mps, "mps")] {
        let error = load(&checkpoint, &on(&plan, device, Some("h.0.odd.weight")), true).err().unwrap();
        let words = error.to_string();
        assert!(matches!(error, Error::DeviceUnavailable(_)), "{words}");
        assert!(words.contains("h.0.odd.weight") && words.contains(&format!("device {name}:")), "{words}");
    }
    let model = load(&checkpoint, &plan, true).unwrap();
    let made = model.entries().iter().filter(|e| e.is_weight() || e.name.starts_with("h.2."));
    let needed: u64 = made.map(|e| e.byte_size).sum();
    let mut calls = 0;
    let mut with = |limit| {
        let options = LoadOptions { max_memory: Some(limit) };
        Model::load(&context(2), &spec(true), &checkpoint, &plan, &options, &mut |_| {
            calls += 1;
            ControlFlow::Continue(())
        })
        .map(|_| ())
    };
    with(needed).unwrap();
    let error = with(needed - 1).unwrap_err();
    assert!(
        matches!(error, Error::OutOfMemory(_)) && error.to_string().contains(&needed.to_string()),
        "{error}"
    );
    assert!(calls > 0);
}

#[test]
fn progress_ends_at_the_total_and_any_call_may_cancel() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = source(directory.path());
    let plan = plan_of(&checkpoint, action);
    let options = LoadOptions::default();
    let (mut calls, mut done, mut total) = (0, 0, 0);
    Model::load(&context(1), &spec(true), &checkpoint, &plan, &options, &mut |p| {
        assert!(p.phase == Phase::Load && p.done >= done && p.done <= p.total && !p.tensor.is_empty());
        (calls, done, total) = (calls + 1, p.done, p.total);
        ControlFlow::Continue(())
    })
    .unwrap();
    let read = |e: &&TensorEntry| !matches!(e.name.as_str(), "embed.weight" | "position_ids");
    assert_eq!(total, checkpoint.tensors().iter().filter(read).map(TensorEntry::byte_len).sum::<u64>());
    assert_eq!(done, total);
    for at in 1..=calls {
        let mut seen = 0;
        let cancelled = Model::load(&context(1), &spec(true), &checkpoint, &plan, &options, &mut |_| {
            seen += 1;
            if seen == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(cancelled, Err(Error::Cancelled(_))));
        assert_eq!(seen, at);
    }
}

#[test]
fn weights_outlive_the_model_and_threads_share_it() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = source(directory.path());
    let plan = on(&plan_of(&checkpoint, action), MapDevice::Disk, Some("h.0.big.weight"));
    let model = load(&checkpoint, &plan, true).unwrap();
    drop(checkpoint);
    let names: Vec<String> =
        model.entries().iter().filter(|e| e.is_weight()).map(|e| e.name.clone()).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for name in &names {
                    let weight = model.weight(name).unwrap();
                    assert_eq!(weight.shape(), model.entries()[model.find(name).unwrap()].shape);
                }
                model.tensor("h.2.norm.weight").unwrap();
            });
        }
    });
    let before = model.weight("h.0.f16.weight").unwrap();
    let bytes: Vec<u8> = before.parts().next().unwrap().bytes.to_vec();
    drop(model);
    assert_eq!(before.parts().next().unwrap().bytes, bytes);
}

#[test]
fn a_plan_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = source(directory.path());
    let mut short = plan_of(&checkpoint, action);
    short.entries.pop();
    assert!(load(&checkpoint, &short, false).is_err());
    let mut other = plan_of(&checkpoint, action);
    other.entries[0].source.dtype = DType::F32;
    assert!(load(&checkpoint, &other, false).is_err());
    let mut integers = plan_of(&checkpoint, action);
    integers.entries.last_mut().unwrap().action = Action::Keep { dtype: DType::F32 };
    let words = load(&checkpoint, &integers, false).err().unwrap().to_string();
    assert!(words.contains("position_ids"), "{words}");

    let quantized = Arc::new(Checkpoint::open(golden_file()).unwrap());
    let mut part = quantized.plan_as_stored().unwrap();
    let entry = part.entries.iter_mut().find(|e| e.source.name.ends_with("nested_absmax")).unwrap();
    entry.action = Action::Keep { dtype: DType::Bf16 };
    let words = load(&quantized, &part, false).err().unwrap().to_string();
    assert!(words.contains("quantized already"), "{words}");
}

#[test]
fn reading_goes_to_any_strides_of_the_right_type_and_shape() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = source(directory.path());
    let model = load(&checkpoint, &plan_of(&checkpoint, action), false).unwrap();
    let shape = Shape::new(&[70, 90]).unwrap();
    let plain = read(&model, "embed.weight", DType::Bf16, shape).unwrap();
    let mut turned = vec![0u8; plain.len()];
    let raw = RawTensor::new(turned.as_mut_ptr(), DType::Bf16, shape, Some(&[1, 70])).unwrap();
    // SAFETY: the strides reach exactly the 70 · 90 elements of `turned`.
    model.read("embed.weight", &mut unsafe { TensorMut::from_raw(raw) }).unwrap();
    for (i, j) in [(0usize, 0usize), (3, 7), (69, 89)] {
        assert_eq!(turned[(j * 70 + i) * 2..][..2], plain[(i * 90 + j) * 2..][..2]);
    }
    let wrong =
        |dtype, dims: &[u64]| read(&model, "embed.weight", dtype, Shape::new(dims).unwrap()).unwrap_err();
    assert!(matches!(wrong(DType::F32, &[70, 90]), Error::DtypeUnsupported(_)));
    assert!(matches!(wrong(DType::Bf16, &[90, 70]), Error::ShapeMismatch(_)));
    let weight = model.entries()[model.find("h.0.odd.weight").unwrap()].shape;
    let error = read(&model, "h.0.odd.weight", DType::Bf16, weight).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
}

//! Memory stays bounded however large a tensor is. Alone in its program: it looks at the process.
#![cfg(target_os = "linux")]

mod checkpoint_support;

use std::ops::ControlFlow;

use checkpoint_support::{Tensor, plan_of, write_checkpoint};
use fourbit::backend::cpu::CpuConfig;
use fourbit::checkpoint::{
    Checkpoint, DequantizeTarget, Progress, SaveOptions, dequantize_checkpoint, quantize_checkpoint,
};
use fourbit::dtype::{DType, FloatType};
use fourbit::plan::Action;
use fourbit::quant::QuantSpec;
use fourbit::shape::Shape;

/// The largest resident size since the last reset, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_large_tensor_does_not_fill_memory() {
    let directory = tempfile::tempdir().unwrap();
    let (source, output) = (directory.path().join("source"), directory.path().join("out"));
    let (rows, columns) = (8192u64, 6144u64);
    let source_bytes = rows * columns * 2;
    // Kept and converted, straight and transposed: 100 MB each.
    let tensor = |name| Tensor {
        name,
        dtype: DType::Bf16,
        shape: Shape::new(&[rows, columns]).unwrap(),
        bytes: (0..source_bytes).map(|i| ((i * 2654435761) >> 7) as u8 & 0x3f).collect(),
    };
    write_checkpoint(&source, &["keep", "straight", "turned"].map(tensor), false);
    let context = fourbit::Context::cpu(CpuConfig { threads: 2, ..CpuConfig::default() }).unwrap();
    let checkpoint = Checkpoint::open(&source).unwrap();
    let plan = plan_of(&checkpoint, |t| match t.name.as_str() {
        "keep" => Action::Keep { dtype: t.dtype },
        name => Action::Quantize { dtype: FloatType::Bf16, transpose: name == "turned" },
    });

    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let spec = QuantSpec { double_quant: true, ..QuantSpec::default() };
    let options = SaveOptions::default();
    let mut go = |_: &Progress<'_>| ControlFlow::Continue(());
    quantize_checkpoint(&context, &spec, &checkpoint, &plan, &output, &options, &mut go).unwrap();
    let grown = peak().saturating_sub(before);
    assert!(grown < source_bytes / 3, "quantizing took {grown} bytes more, a tensor has {source_bytes}");

    // One weight's codes (a quarter of its source) are held; the floats are not.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let quantized = Checkpoint::open(&output).unwrap();
    let target = DequantizeTarget { dtype: None, is_transposed: &|_| false };
    let plain = directory.path().join("plain");
    dequantize_checkpoint(&context, &quantized, &target, &plain, &options, &mut go).unwrap();
    let grown = peak().saturating_sub(before);
    assert!(grown < source_bytes * 2 / 3, "dequantizing took {grown} bytes more");
}

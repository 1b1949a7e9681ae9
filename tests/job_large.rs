//! Checkpoints far larger than the memory that may be used, and tensors of more than 2^31 elements.
//! The sources are sparse files: they take no space, and reading them gives zeros.
#![cfg(unix)]

mod job_support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fourbit::backend::cpu::CpuConfig;
use fourbit::checkpoint::Checkpoint;
use fourbit::quant::{GemmOptions, gemm};
use fourbit::tensor::{TensorMut, TensorRef};
use job_support::{ok, quantize, refused};

/// Two kinds of models: `model_type` and the name of a matrix in layer `#`.
const LLAMA: [&str; 2] = ["llama", "model.layers.#.mlp.up_proj.weight"];
/// Its matrices are stored `[in, out]`, so that quantizing reads across them.
const GPT2: [&str; 2] = ["gpt2", "transformer.h.#.mlp.c_fc.weight"];

/// A model with `layers` matrices of the given shape, all zeros so far. Returns the file and where
/// each matrix begins in it.
fn write_sparse(
    directory: &Path,
    [model_type, name]: [&str; 2],
    layers: u64,
    [rows, columns]: [u64; 2],
) -> (File, Vec<u64>) {
    std::fs::create_dir_all(directory).unwrap();
    let config = serde_json::json!({"model_type": model_type, "torch_dtype": "bfloat16"});
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let bytes = rows * columns * 2;
    let tensors: Vec<String> = (0..layers)
        .map(|i| {
            let offsets = [i * bytes, (i + 1) * bytes];
            let name = name.replace('#', &i.to_string());
            format!(
                "\"{name}\":{{\"dtype\":\"BF16\",\"shape\":[{rows},{columns}],\"data_offsets\":{offsets:?}}}"
            )
        })
        .collect();
    let header = format!("{{{}}}", tensors.join(","));
    let file = File::create(directory.join("model.safetensors")).unwrap();
    let start = 8 + header.len() as u64;
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0).unwrap();
    file.write_all_at(header.as_bytes(), 8).unwrap();
    file.set_len(start + layers * bytes).unwrap();
    (file, (0..layers).map(|i| start + i * bytes).collect())
}

/// The command with an address space of at most so many kilobytes.
fn limited(command: &Command, kilobytes: u64) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {kilobytes} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

fn tempdir() -> tempfile::TempDir {
    // Of the real output there are gigabytes: not in a temporary directory that may lie in memory.
    match std::env::var_os("FOURBIT_LARGE_DIR") {
        Some(place) => tempfile::tempdir_in(place).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

fn outputs(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn same(left: &Path, right: &Path) -> bool {
    let mut readers = [left, right].map(|p| BufReader::new(File::open(p).unwrap()));
    let mut buffers = [vec![0; 1 << 20], vec![0; 1 << 20]];
    loop {
        let mut lens = [0; 2];
        for ((reader, buffer), len) in readers.iter_mut().zip(&mut buffers).zip(&mut lens) {
            while *len < buffer.len() {
                match reader.read(&mut buffer[*len..]).unwrap() {
                    0 => break,
                    n => *len += n,
                }
            }
        }
        if lens[0] != lens[1] || buffers[0][..lens[0]] != buffers[1][..lens[0]] {
            return false;
        }
        if lens[0] == 0 {
            return true;
        }
    }
}

/// Quantizes within `memory` and an address space of `kilobytes`, and compares with a run that has no limits.
fn within(memory: &str, kilobytes: u64, layers: u64, shape: [u64; 2]) {
    let directory = tempdir();
    let (source, free, tight) =
        (directory.path().join("source"), directory.path().join("free"), directory.path().join("tight"));
    let (file, starts) = write_sparse(&source, LLAMA, layers, shape);
    for (i, &start) in starts.iter().enumerate() {
        file.write_all_at(&[i as u8 + 1, 0x3c, 7, 0xbd], start + 4096).unwrap();
    }
    let options = ["--memory", memory, "--threads", "4", "--max-shard-size", "200MB"];
    let command = quantize(&source, &tight, &options);
    ok(limited(&command, kilobytes));
    ok(quantize(&source, &free, &["--max-shard-size", "200MB"]));
    let (a, b) = (outputs(&free), outputs(&tight));
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(&b) {
        assert!(a.file_name() == b.file_name() && same(a, b), "{}", b.display());
    }
}

#[test]
fn a_limited_run_gives_the_same_bytes() {
    // 400 MB of source, 256 MB of address space, of which most is the program's and its stacks'.
    within("16MB", 256 << 10, 4, [8192, 6144]);
}

/// Runs a command to its good end; the largest resident size it had, in bytes.
#[cfg(target_os = "linux")]
#[allow(clippy::zombie_processes)] // wait4 waits
fn peak(mut command: Command) -> u64 {
    let child = command.spawn().unwrap();
    let mut status = 0;
    // SAFETY: all zeros are a valid rusage; both pointers are to live variables; the child is ours
    // and is waited for nowhere else.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, &mut usage), child.id() as i32);
        usage
    };
    assert_eq!(status, 0);
    usage.ru_maxrss as u64 * 1024
}

#[test]
#[cfg(target_os = "linux")]
fn memory_stays_within_its_budget() {
    let directory = tempdir();
    let source = directory.path().join("source");
    write_sparse(&source, GPT2, 3, [4096, 8192]);
    let run = |out: &str, options: &[&str]| {
        let options = [&["--threads", "16"], options].concat();
        peak(quantize(&source, &directory.path().join(out), &options))
    };
    let (free, tight) = (run("free", &[]), run("tight", &["--memory", "20MB"]));
    println!("{free} bytes without a budget, {tight} with one of 20 MB");
    // The program itself takes about 10 MB.
    assert!(tight < 36_000_000, "{tight} bytes");
    assert!(free > tight + 20_000_000, "{free} and {tight} bytes: the budget made no difference");
    let (a, b) = (directory.path().join("free"), directory.path().join("tight"));
    assert!(same(&a.join("model.safetensors"), &b.join("model.safetensors")));
}

#[test]
#[ignore = "writes 11 GB"]
fn twenty_gigabytes_within_two() {
    within("512MB", 2 << 20, 40, [16384, 16384]);
}

#[test]
fn too_small_a_budget_is_refused_with_what_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let (source, out) = (directory.path().join("source"), directory.path().join("out"));
    write_sparse(&source, LLAMA, 1, [1024, 1024]);
    let words = ["memory 1000", "at least", "model.layers.0.mlp.up_proj.weight"];
    refused(quantize(&source, &out, &["--memory", "1000"]), &words);
    assert!(!out.exists());
}

/// A tensor of more than 2^31 elements is quantized, read back, and multiplied.
#[test]
#[ignore = "needs 5 GB of disk and a minute"]
fn more_than_two_to_the_31_elements() {
    const COLUMNS: u64 = 32768;
    const ROWS: u64 = 65536 + 3;
    const { assert!(ROWS * COLUMNS > 1 << 31) };
    let directory = tempdir();
    let (source, out) = (directory.path().join("source"), directory.path().join("out"));
    let (file, starts) = write_sparse(&source, LLAMA, 1, [ROWS, COLUMNS]);
    // The first row, those around element 2^31, and the last.
    let filled = [0, 65535, 65536, ROWS - 1];
    let mut random = job_support::Random(3);
    let mut rows = Vec::new();
    for row in filled {
        let values: Vec<half::bf16> =
            (0..COLUMNS).map(|_| half::bf16::from_f32(random.below(2001) as f32 / 1000.0 - 1.0)).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        file.write_all_at(&bytes, starts[0] + row * COLUMNS * 2).unwrap();
        rows.push(values);
    }
    ok(quantize(&source, &out, &[]));

    let checkpoint = Checkpoint::open(&out).unwrap();
    let weight = checkpoint.weight("model.layers.0.mlp.up_proj.weight").unwrap();
    assert_eq!(weight.shape().dims(), [ROWS, COLUMNS]);
    let x: Vec<f32> = (0..COLUMNS).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let context = fourbit::Context::cpu(CpuConfig::default()).unwrap();
    let mut y = vec![0.0f32; ROWS as usize];
    let mut output = TensorMut::new(&mut y, &[1, ROWS]).unwrap();
    let input = TensorRef::new(&x, &[1, COLUMNS]).unwrap();
    gemm(&context, input, &weight, None, GemmOptions::default(), &mut output).unwrap();
    let parts: BTreeMap<String, Vec<u8>> =
        weight.parts().map(|p| (p.name.to_string(), p.bytes.to_vec())).collect();
    let some = (0..ROWS).step_by(4099).chain(65530..ROWS).chain(filled);
    for row in some {
        let decoded = decode_row(&parts, row, COLUMNS);
        let product: f64 = decoded.iter().zip(&x).map(|(w, x)| w * f64::from(*x)).sum();
        let found = f64::from(y[row as usize]);
        assert!((found - product).abs() < 1e-3, "row {row}: {found}, from the stored bytes {product}");
        let Some(at) = filled.iter().position(|&r| r == row) else { continue };
        let exact: f64 = rows[at].iter().zip(&x).map(|(w, x)| f64::from(w.to_f32()) * f64::from(*x)).sum();
        // A 4-bit code is off by at most 0.16 of its block's largest value, which is about 1.
        let deviation = f64::sqrt(x.iter().map(|x| f64::from(x * x)).sum::<f64>()) * 0.16;
        assert!((found - exact).abs() < 3.0 * deviation, "row {row}: {found}, exactly {exact}");
        let error = decoded.iter().zip(&rows[at]).map(|(d, w)| (d - f64::from(w.to_f32())).abs());
        assert!(error.fold(0.0, f64::max) < 0.18, "row {row}");
    }
}

/// A row's values from the stored parts, by bitsandbytes' formula.
fn decode_row(parts: &BTreeMap<String, Vec<u8>>, row: u64, columns: u64) -> Vec<f64> {
    let floats = |name: &str| floats_of(&parts[name]);
    let (map, nested, dynamic) = (floats("quant_map"), floats("nested_absmax"), floats("nested_quant_map"));
    let state: serde_json::Value = serde_json::from_slice(&parts["quant_state.bitsandbytes__nf4"]).unwrap();
    let offset = state["nested_offset"].as_f64().unwrap();
    let (codes, absmax) = (&parts[""], &parts["absmax"]);
    (0..columns)
        .map(|column| {
            let element = row * columns + column;
            let byte = codes[(element / 2) as usize];
            let code = if element.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            let block = (element / 64) as usize;
            let scale = f64::from(dynamic[absmax[block] as usize]) * f64::from(nested[block / 256]) + offset;
            f64::from(map[code as usize]) * scale
        })
        .collect()
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

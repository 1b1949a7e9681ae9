//! A model made up by the tests, and the `fourbit` command run on it as a process of its own.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use fourbit::checkpoint::{
    CheckpointWriter, JOB_FILE, Layout, LayoutOptions, OutputDirectory, OutputTensor, ShardFile, Unit,
};
use fourbit::dtype::DType;
use fourbit::shape::Shape;

/// A small linear congruential generator (Knuth's MMIX constants).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 16
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// bf16 values of both signs with magnitudes from 2^-10 to 2^-3.
fn values(count: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count as usize * 2);
    while bytes.len() < count as usize * 2 {
        let bits = random.next();
        for shift in [0, 16, 32] {
            let bits = (bits >> shift) as u16;
            bytes.extend(((bits & 0x83ff) | 0x3a80).to_le_bytes());
        }
    }
    bytes.truncate(count as usize * 2);
    bytes
}

/// Writes a Llama of `layers` layers (6.8 MB each) in two files, with what lies beside them.
pub fn write_model(directory: &Path, layers: u64, seed: u64) {
    let (hidden, inner, vocabulary) = (512, 1536, 1024);
    let mut tensors = vec![
        ("lm_head.weight".to_owned(), vec![vocabulary, hidden]),
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    for layer in 0..layers {
        let square = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
        let mut add = |name: &str, shape: &[u64]| {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        square.iter().for_each(|name| add(name, &[hidden, hidden]));
        ["mlp.gate_proj", "mlp.up_proj"].iter().for_each(|name| add(name, &[inner, hidden]));
        add("mlp.down_proj", &[hidden, inner]);
        ["input_layernorm", "post_attention_layernorm"].iter().for_each(|name| add(name, &[hidden]));
    }
    let unit = |(name, shape): &(String, Vec<u64>)| {
        Unit::plain(OutputTensor {
            name: name.clone(),
            dtype: DType::Bf16,
            shape: Shape::new(shape).unwrap(),
        })
    };
    let units: Vec<Unit> = tensors.iter().map(unit).collect();
    let max_shard_size = 4_000_000 + layers * 3_400_000;
    let layout = Layout::new(&units, &LayoutOptions { max_shard_size, ..LayoutOptions::default() }).unwrap();
    let output = OutputDirectory::prepare(directory, None, false).unwrap();
    let writer = CheckpointWriter::create(output, &layout).unwrap();
    let mut random = Random(seed);
    for (i, unit) in units.iter().enumerate() {
        let place = layout.places(i)[0];
        writer.write(&place, 0, &values(unit.parameters, &mut random)).unwrap();
    }
    writer.finish(&[]).unwrap();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": vocabulary,
        "tie_word_embeddings": false,
    });
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
    std::fs::write(directory.join("tokenizer.json"), "{\"made\": \"up\"}").unwrap();
    std::fs::write(directory.join("README.md"), "A model of noise.\n").unwrap();
}

/// Names and contents of a directory.
pub type Contents = BTreeMap<String, Vec<u8>>;

pub fn contents(directory: &Path) -> Contents {
    let Ok(list) = std::fs::read_dir(directory) else { return Contents::new() };
    let read =
        |e: std::fs::DirEntry| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap());
    list.map(|e| read(e.unwrap())).collect()
}

/// The same, in words that a failed test can show.
pub fn difference(actual: &Contents, expected: &Contents) -> Option<String> {
    let names: Vec<&String> = actual.keys().collect();
    if !names.iter().copied().eq(expected.keys()) {
        return Some(format!("{names:?} instead of {:?}", expected.keys().collect::<Vec<_>>()));
    }
    let differing = names.iter().find(|name| actual[**name] != expected[**name]);
    differing.map(|name| format!("{name} differs"))
}

#[track_caller]
pub fn assert_same(directory: &Path, expected: &Contents) {
    assert_eq!(difference(&contents(directory), expected), None);
}

/// Every file under a final name is whole, and is what an undisturbed run writes. Returns how many
/// hold tensors.
pub fn check_files(out: &Path, expected: &Contents) -> usize {
    let mut shards = 0;
    for (name, bytes) in contents(out) {
        if name.starts_with('.') || name == JOB_FILE {
            continue;
        }
        assert!(expected.get(&name) == Some(&bytes), "{name}: {} bytes: not whole", bytes.len());
        if name.ends_with(".safetensors") {
            ShardFile::open(&out.join(&name)).unwrap();
            shards += 1;
        }
    }
    shards
}

/// Says why a check is left out, past the capture of a test's output.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stdout(), "\nskip - {why}");
}

/// `fourbit quantize SOURCE OUT --quiet OPTIONS`.
pub fn quantize(source: &Path, out: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fourbit"));
    command.arg("quantize").args([source, out]).arg("--quiet").args(options);
    command
}

pub fn merge(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fourbit"));
    command.args(["merge", "--quiet"]).arg(out);
    command
}

/// Exit code and standard error.
pub fn run(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[track_caller]
pub fn ok(command: Command) {
    assert_eq!(run(command), (Some(0), String::new()));
}

/// The command must end with exit code 2 and these words.
#[track_caller]
pub fn refused(command: Command, words: &[&str]) {
    let (code, error) = run(command);
    assert_eq!(code, Some(2), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

pub fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn names(directory: &Path) -> Vec<String> {
    let Ok(list) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A model, where to write, and what one undisturbed run makes of it.
pub struct Scene {
    pub directory: tempfile::TempDir,
    pub source: PathBuf,
    pub options: Vec<&'static str>,
    pub expected: Contents,
    pub seconds: f64,
}

impl Scene {
    pub fn new(layers: u64, options: &[&'static str]) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let (source, whole) = (directory.path().join("source"), directory.path().join("whole"));
        write_model(&source, layers, 1);
        let started = std::time::Instant::now();
        ok(quantize(&source, &whole, options));
        let seconds = started.elapsed().as_secs_f64();
        let expected = contents(&whole);
        Scene { source, options: options.to_vec(), expected, seconds, directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn quantize(&self, out: &Path, options: &[&str]) -> Command {
        quantize(&self.source, out, &[&self.options, options].concat())
    }

    pub fn shards(&self) -> usize {
        self.expected.keys().filter(|n| n.ends_with(".safetensors")).count()
    }
}

//! Writing: identical bytes, nothing under a final name too early, nothing left behind.

mod checkpoint_support;

use std::path::Path;

use checkpoint_support::{golden_file, names, put};
use fourbit::Error;
use fourbit::checkpoint::{
    Checkpoint, CheckpointWriter, Layout, LayoutOptions, OutputDirectory, OutputTensor, SideContent,
    SideFile, Unit, side_files,
};

/// The golden checkpoint as raw units, and a layout of them.
fn golden(max_shard_size: u64) -> (Checkpoint, Layout) {
    let checkpoint = Checkpoint::open(golden_file()).unwrap();
    let units: Vec<Unit> = checkpoint
        .tensors()
        .iter()
        .map(|t| Unit::plain(OutputTensor { name: t.name.clone(), dtype: t.dtype, shape: t.shape }))
        .collect();
    let layout = Layout::new(&units, &LayoutOptions { max_shard_size, ..LayoutOptions::default() }).unwrap();
    (checkpoint, layout)
}

fn write_all(writer: &CheckpointWriter, checkpoint: &Checkpoint, layout: &Layout) {
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                for i in (0..checkpoint.tensors().len()).filter(|i| i % 3 == thread) {
                    let bytes = checkpoint.bytes(i).unwrap();
                    let (head, tail) = bytes.split_at(bytes.len() / 3);
                    writer.write(&layout.places(i)[0], head.len() as u64, tail).unwrap();
                    writer.write(&layout.places(i)[0], 0, head).unwrap();
                }
            });
        }
    });
}

fn writer(output: &Path, layout: &Layout, force: bool) -> CheckpointWriter {
    CheckpointWriter::create(OutputDirectory::prepare(output, None, force).unwrap(), layout).unwrap()
}

fn text(name: &str, content: &str) -> SideFile {
    SideFile { name: name.into(), content: SideContent::Text(content.into()) }
}

#[test]
fn a_real_file_is_written_again_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("deep/er");
    let (checkpoint, layout) = golden(u64::MAX);
    let writer = writer(&output, &layout, false);
    assert_eq!(names(&output), [".model.safetensors.partial"], "no final name before finish");
    write_all(&writer, &checkpoint, &layout);
    assert_eq!(names(&output), [".model.safetensors.partial"]);
    let written = writer.finish(&[text("config.json", "{}\n")]).unwrap();
    assert_eq!(written, [output.join("config.json"), output.join("model.safetensors")]);
    assert_eq!(names(&output), ["config.json", "model.safetensors"]);
    assert_eq!(
        std::fs::read(output.join("model.safetensors")).unwrap(),
        std::fs::read(golden_file()).unwrap()
    );
    assert_eq!(std::fs::read_to_string(output.join("config.json")).unwrap(), "{}\n");
}

#[test]
fn shards_and_index_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let (checkpoint, layout) = golden(40_000);
    let writer = writer(directory.path(), &layout, false);
    write_all(&writer, &checkpoint, &layout);
    writer.finish(&[]).unwrap();
    assert!(layout.shards.len() > 2);
    assert_eq!(names(directory.path()).len(), layout.shards.len() + 1);
    let again = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(again.tensors().len(), checkpoint.tensors().len());
    for (i, tensor) in checkpoint.tensors().iter().enumerate() {
        assert_eq!(again.tensors()[i].name, tensor.name);
        assert_eq!(again.bytes(i).unwrap(), checkpoint.bytes(i).unwrap());
    }
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (checkpoint, layout) = golden(40_000);
    let existing = directory.path().join("existing");
    std::fs::create_dir(&existing).unwrap();
    for output in [existing.clone(), directory.path().join("new")] {
        let writer = writer(&output, &layout, false);
        write_all(&writer, &checkpoint, &layout);
        drop(writer);
    }
    assert_eq!(names(&existing), [""; 0]);
    assert_eq!(names(directory.path()), ["existing"], "a directory made for the output goes with it");
}

#[test]
fn an_unfinished_checkpoint_is_not_published() {
    let directory = tempfile::tempdir().unwrap();
    let (checkpoint, layout) = golden(u64::MAX);
    let writer = writer(directory.path(), &layout, false);
    writer.write(&layout.places(0)[0], 0, checkpoint.bytes(0).unwrap()).unwrap();
    let error = writer.finish(&[]).unwrap_err();
    assert!(matches!(error, Error::InvalidState(_)), "{error}");
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn writes_beyond_a_tensor_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_, layout) = golden(u64::MAX);
    let writer = writer(directory.path(), &layout, false);
    let place = layout.places(0)[0];
    for offset in [place.len, u64::MAX] {
        assert!(matches!(writer.write(&place, offset, &[0]), Err(Error::InvalidArgument(_))));
    }
}

#[test]
fn an_earlier_checkpoint_survives_until_the_new_one_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (checkpoint, layout) = golden(40_000);
    let old = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors"];
    for name in old.iter().chain(&["model.safetensors.index.json", "notes.md", "model-best.safetensors"]) {
        put(root, name, b"old");
    }
    let error = OutputDirectory::prepare(root, None, false).unwrap_err().to_string();
    assert!(error.contains("holds model-00001-of-00002.safetensors already"), "{error}");

    let writer = writer(root, &layout, true);
    write_all(&writer, &checkpoint, &layout);
    assert!(old.iter().all(|name| std::fs::read(root.join(name)).unwrap() == b"old"));
    writer.finish(&[]).unwrap();
    assert!(old.iter().all(|name| !root.join(name).exists()), "{:?}", names(root));
    assert!(root.join("notes.md").exists() && root.join("model-best.safetensors").exists());
    assert_eq!(Checkpoint::open(root).unwrap().tensors().len(), checkpoint.tensors().len());

    // Once more over itself, where all names collide, and back to a single file.
    for (max, files) in [(40_000, layout.shards.len() + 1), (u64::MAX, 1)] {
        let (checkpoint, layout) = golden(max);
        let writer = self::writer(root, &layout, true);
        write_all(&writer, &checkpoint, &layout);
        writer.finish(&[]).unwrap();
        assert_eq!(names(root).len(), files + 2);
        assert_eq!(Checkpoint::open(root).unwrap().tensors().len(), checkpoint.tensors().len());
    }
}

#[test]
fn leftovers_of_a_killed_run_do_not_count_and_links_are_not_written_through() {
    let directory = tempfile::tempdir().unwrap();
    let (checkpoint, layout) = golden(u64::MAX);
    let victim = put(directory.path(), "victim", b"precious");
    let output = directory.path().join("out");
    std::fs::create_dir(&output).unwrap();
    std::os::unix::fs::symlink(&victim, output.join(".model.safetensors.partial")).unwrap();
    std::os::unix::fs::symlink(&victim, output.join(".gone.safetensors.partial")).unwrap();
    let writer = writer(&output, &layout, false);
    write_all(&writer, &checkpoint, &layout);
    writer.finish(&[]).unwrap();
    assert_eq!(std::fs::read(victim).unwrap(), b"precious");
    assert_eq!(
        std::fs::read(output.join("model.safetensors")).unwrap(),
        std::fs::read(golden_file()).unwrap()
    );
}

#[test]
fn the_source_is_never_the_output() {
    let directory = tempfile::tempdir().unwrap();
    let alias = directory.path().join("alias");
    let source = directory.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::os::unix::fs::symlink(&source, &alias).unwrap();
    let error = OutputDirectory::prepare(&alias, Some(&source), true).unwrap_err().to_string();
    assert!(error.contains("must not be the directory of the source"), "{error}");
    let file = put(directory.path(), "file", b"");
    assert!(OutputDirectory::prepare(&file, None, true).is_err());
    assert!(OutputDirectory::prepare(&file.join("below"), None, true).is_err());
}

#[test]
fn a_file_that_cannot_grow_is_an_error_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // More than any file system of the tests has room for.
    let shape = fourbit::shape::Shape::new(&[1 << 60]).unwrap();
    let tensor = OutputTensor { name: "a".into(), dtype: fourbit::dtype::DType::U8, shape };
    let layout = Layout::new(&[Unit::plain(tensor)], &LayoutOptions::default()).unwrap();
    let output = OutputDirectory::prepare(directory.path(), None, false).unwrap();
    let error = CheckpointWriter::create(output, &layout).unwrap_err();
    assert!(matches!(error, Error::Io { action: "cannot reserve disk space", .. }), "{error}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn side_files_are_chosen_by_kind() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let wanted = [
        "LICENSE",
        "README.md",
        "chat_template.jinja",
        "generation_config.json",
        "merges.txt",
        "modeling_x.py",
        "qwen.tiktoken",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    ];
    let unwanted = [
        ".gitattributes",
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "tf_model.h5",
        "flax_model.msgpack",
        "x.gguf",
        "consolidated.00.pth",
        "tokenizer.bin",
        "photo.png",
    ];
    for name in wanted.iter().chain(&unwanted) {
        put(root, name, name.as_bytes());
    }
    std::fs::create_dir(root.join("original.json")).unwrap();
    std::fs::rename(root.join("vocab.json"), root.join("blob-of-vocab")).unwrap();
    std::os::unix::fs::symlink("blob-of-vocab", root.join("vocab.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("dangling.json")).unwrap();
    let files = side_files(root).unwrap();
    assert_eq!(files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), wanted);

    let output = tempfile::tempdir().unwrap();
    let (checkpoint, layout) = golden(u64::MAX);
    let writer = writer(output.path(), &layout, false);
    write_all(&writer, &checkpoint, &layout);
    writer.finish(&files).unwrap();
    for name in wanted {
        let copied = output.path().join(name);
        assert!(!copied.is_symlink());
        assert_eq!(std::fs::read_to_string(copied).unwrap(), name);
    }
}

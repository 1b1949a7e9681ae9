//! The fuzz targets over their kept corpus, and over the corpus cut short and with bytes exchanged.
//! `tools/fuzz.sh` runs the same targets under libFuzzer.

#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::path::Path;

/// The corpus of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|f| (f.display().to_string(), std::fs::read(f).unwrap())).collect()
}

fn replay(target: &str) {
    let (_, run) = targets::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let files = corpus(target);
    assert!(!files.is_empty(), "no corpus for {target}");
    for (name, bytes) in &files {
        let tell = |what: &str, bytes: &[u8]| {
            let run = std::panic::AssertUnwindSafe(|| run(bytes));
            assert!(std::panic::catch_unwind(run).is_ok(), "{target}: {name}{what}");
        };
        tell("", bytes);
        tell(", cut in half", &bytes[..bytes.len() / 2]);
        let mut changed = bytes.clone();
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 8) {
            changed[at] ^= 1 << (at % 8);
        }
        tell(", with bits turned", &changed);
    }
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($target)),*];
            let names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(replayed[..], names[..]);
        }
    };
}

replays!(header index weight_parts image config plan device_map tensor gemm);

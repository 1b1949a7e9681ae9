//! A disk that fails in the middle: reads, writes, syncs and renames that end in an error, are cut short
//! or interrupted. A fault is reported with the file's name and exit code 2, nothing incomplete remains
//! under a final name, and the next run ends with the same bytes.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod job_support;

use std::path::{Path, PathBuf};
use std::process::Command;

use fourbit::checkpoint::JOB_FILE;
use job_support::{Contents, Scene, assert_same, check_files, contents, names, ok, run, skip};

/// `tests/faults/inject.c`, compiled; `None` if there is no C compiler.
fn injector(directory: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/inject.c");
    let library = directory.join("inject.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).status();
    match made {
        Ok(status) => {
            assert!(status.success(), "{} does not compile", source.display());
            Some(library)
        }
        Err(_) => None,
    }
}

struct Faults {
    scene: Scene,
    library: PathBuf,
    source: Contents,
}

impl Faults {
    fn new() -> Option<Faults> {
        let scene = Scene::new(2, &["--max-shard-size", "1500KB", "--threads", "1"]);
        let Some(library) = injector(scene.directory.path()) else {
            skip("faulty disks: there is no C compiler to build the injector with");
            return None;
        };
        Some(Faults { source: contents(&scene.source), library, scene })
    }

    fn command(&self, out: &Path, options: &[&str], fault: &str) -> Command {
        let mut command = self.scene.quantize(out, options);
        command.env("LD_PRELOAD", &self.library).env("FOURBIT_FAULT", fault);
        command
    }

    /// How often an undisturbed run calls `operation`.
    fn calls(&self, operation: &str) -> u64 {
        let (out, count) = (self.scene.path("counted"), self.scene.path("count"));
        let mut command = self.command(&out, &[], &format!("{operation}:0:count"));
        command.env("FOURBIT_FAULT_COUNT", &count);
        ok(command);
        assert_same(&out, &self.scene.expected);
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::read_to_string(&count).unwrap().trim().parse().unwrap()
    }

    /// Call `number` of `operation`, and all after it, fail.
    fn fail(&self, operation: &str, number: u64, kind: &str, words: &str) {
        let out = self.scene.path(&format!("{operation}{number}{kind}"));
        let place = format!("{operation} {number}");
        let (code, error) = run(self.command(&out, &[], &format!("{operation}:{number}:{kind}")));
        assert_eq!(code, Some(2), "{place}: {error}");
        assert!(error.contains(words), "{place}: {error}");
        let named = self.scene.expected.keys().any(|name| error.contains(name.as_str()));
        assert!(named || error.contains(JOB_FILE) || error.contains("source"), "{place}: {error}");
        let finished = check_files(&out, &self.scene.expected);
        assert!(names(&out).iter().all(|n| !n.ends_with(".partial")), "{place}: {:?}", names(&out));
        assert!(contents(&self.scene.source) == self.source, "{place}: the source was touched");
        // Without a finished file nothing remains at all.
        assert!(finished > 0 || !out.exists() || out.join(JOB_FILE).exists(), "{place}: {:?}", names(&out));
        if out.exists() && !out.join(JOB_FILE).exists() {
            // The fault came after the last step of the job itself.
            ok(self.scene.quantize(&out, &["--force"]));
        } else {
            ok(self.scene.quantize(&out, &["--resume"]));
        }
        assert_same(&out, &self.scene.expected);
        std::fs::remove_dir_all(&out).unwrap();
    }
}

/// All of a few, or some of many: first, last, and spread between.
fn some(count: u64) -> Vec<u64> {
    let step = count.div_ceil(8).max(1);
    let mut numbers: Vec<u64> = (1..=count).step_by(step as usize).chain([count]).collect();
    numbers.dedup();
    numbers
}

#[test]
fn every_kind_of_call_may_fail_at_any_time() {
    let Some(faults) = Faults::new() else { return };
    for operation in ["pread", "pwrite", "fsync", "rename", "fallocate"] {
        let calls = faults.calls(operation);
        assert!(calls >= 3, "{operation}: {calls} calls: the injector does not reach them");
        for number in some(calls) {
            faults.fail(operation, number, "eio", "Input/output error");
        }
    }
    for number in some(faults.calls("pwrite")) {
        faults.fail("pwrite", number, "enospc", "No space left on device");
    }
}

#[test]
fn transfers_cut_short_or_interrupted_go_on() {
    let Some(faults) = Faults::new() else { return };
    for operation in ["pread", "pwrite"] {
        for kind in ["short", "eintr"] {
            let out = faults.scene.path(&format!("{operation}{kind}"));
            ok(faults.command(&out, &[], &format!("{operation}:0:{kind}")));
            assert_same(&out, &faults.scene.expected);
        }
    }
}

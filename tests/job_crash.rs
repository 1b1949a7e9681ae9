//! Killed, interrupted, or out of disk space: never an incomplete file under a final name, never a
//! touched source, and the next run ends with the same bytes.
#![cfg(unix)]

mod job_support;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fourbit::checkpoint::JOB_FILE;
use job_support::{
    Random, Scene, assert_same, check_files, contents, merge, names, ok, quantize, refused, run, skip, start,
};

/// What happened in one round of killing.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    too_late: usize,
    resumed: usize,
}

/// Kills runs at random moments, each resuming what the last one left, until one gets through.
fn kill_round(scene: &Scene, out: &Path, random: &mut Random, tally: &mut Tally) {
    let mut options: &[&str] = &[];
    for _ in 0..=random.below(3) {
        let mut child = start(scene.quantize(out, options));
        std::thread::sleep(Duration::from_secs_f64(scene.seconds * random.below(1000) as f64 / 1000.0));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let finished = check_files(out, &scene.expected);
        if status.success() {
            tally.too_late += 1;
            break;
        }
        tally.kills += 1;
        tally.resumed += usize::from(finished > 0 && out.join(JOB_FILE).exists());
        if !out.join(JOB_FILE).exists() && finished > 0 {
            // Killed after the last step.
            break;
        }
        options = &["--resume"];
    }
    if out.join(JOB_FILE).exists() || names(out).iter().all(|n| n.starts_with('.')) {
        ok(scene.quantize(out, &["--resume"]));
    }
    assert_same(out, &scene.expected);
    std::fs::remove_dir_all(out).unwrap();
}

fn kill(scene: &Scene, kills: usize, seed: u64) {
    println!("seed {seed} (FOURBIT_SEED), an undisturbed run takes {:.3} s", scene.seconds);
    let (source, mut random) = (contents(&scene.source), Random(seed));
    let mut tally = Tally::default();
    for round in 0.. {
        if tally.kills >= kills {
            break;
        }
        kill_round(scene, &scene.path(&format!("round{round}")), &mut random, &mut tally);
        assert!(contents(&scene.source) == source, "the source was touched");
        assert!(round < kills * 10, "{tally:?}");
    }
    println!("{tally:?}");
    assert!(tally.resumed > 0, "no run was killed between two files: {tally:?}");
}

fn seed() -> u64 {
    std::env::var("FOURBIT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(5)
}

const SHARDS: &[&str] = &["--max-shard-size", "2MB"];

#[test]
fn killed_at_20_random_moments() {
    kill(&Scene::new(8, SHARDS), 20, seed());
}

/// The long form: `tools/soak_crash.sh`.
#[test]
#[ignore = "takes minutes"]
fn killed_at_200_random_moments() {
    kill(&Scene::new(16, SHARDS), 120, seed());
    // One file: there is nothing to resume from, and still nothing incomplete.
    kill_single(&Scene::new(4, &[]), 40, seed());
    kill(&Scene::new(8, &["--max-shard-size", "700KB", "--no-double-quant", "--threads", "1"]), 40, seed());
}

#[test]
fn killed_while_writing_a_single_file() {
    kill_single(&Scene::new(3, &[]), 5, seed());
}

fn kill_single(scene: &Scene, kills: usize, seed: u64) {
    let (mut random, mut tally) = (Random(seed), Tally::default());
    while tally.kills < kills {
        kill_round(scene, &scene.path("out"), &mut random, &mut tally);
    }
}

/// Waits until `ready`; false if the process ended before.
fn wait_until(child: &mut std::process::Child, ready: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !ready() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it hangs");
        std::thread::yield_now();
    }
    true
}

/// Starts a run that hears Ctrl-C, also where these tests run in the background and ignore it, and that
/// is not over before this process has its turn, also on a busy machine.
fn start_interruptible(mut command: Command) -> std::process::Child {
    // SAFETY: both calls are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            libc::nice(19);
            Ok(())
        });
    }
    start(command)
}

#[test]
fn interrupts_end_in_good_order() {
    let scene = Scene::new(4, &["--max-shard-size", "1MB", "--threads", "1"]);
    let mut caught = 0;
    for attempt in 0..40 {
        let (signal, code) = if attempt % 2 == 0 { (libc::SIGINT, 130) } else { (libc::SIGTERM, 143) };
        let out = scene.path(&format!("out{attempt}"));
        let mut child = start_interruptible(scene.quantize(&out, &[]));
        let has_shard = || names(&out).iter().any(|n| n.starts_with("model-"));
        if wait_until(&mut child, has_shard) {
            // SAFETY: sends a signal to our own child, which has not been waited for.
            unsafe { libc::kill(child.id() as i32, signal) };
        }
        let output = child.wait_with_output().unwrap();
        let finished = check_files(&out, &scene.expected);
        if !output.status.success() {
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{error}");
            assert!(error.contains("cancelled at tensor") && error.contains("--resume"), "{error}");
            assert!(finished > 0);
            assert!(names(&out).iter().all(|n| !n.starts_with('.')), "{:?}", names(&out));
            ok(scene.quantize(&out, &["--resume"]));
            caught += 1;
        }
        assert_same(&out, &scene.expected);
        if caught == 4 {
            break;
        }
    }
    assert_eq!(caught, 4);
}

#[test]
fn an_interrupt_before_the_first_file_leaves_nothing() {
    let scene = Scene::new(10, &[]);
    let mut caught = 0;
    // A run may be over, or not have its handler yet, when the signal comes: then it says nothing.
    for attempt in 0..40 {
        let out = scene.path(&format!("out{attempt}"));
        let mut child = start_interruptible(scene.quantize(&out, &["--threads", "1"]));
        if wait_until(&mut child, || out.exists()) {
            // SAFETY: sends a signal to our own child, which has not been waited for.
            unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        }
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(0 | 130) | None), "{error}");
        if output.status.code() == Some(130) {
            assert!(!out.exists(), "{error}");
            assert!(!error.contains("--resume"), "{error}");
            caught += 1;
        }
        if !output.status.success() {
            ok(scene.quantize(&out, &["--resume"]));
        }
        assert_same(&out, &scene.expected);
        if caught == 2 {
            break;
        }
    }
    assert_eq!(caught, 2);
}

#[test]
fn two_runs_never_write_into_one_another() {
    let scene = Scene::new(4, &["--max-shard-size", "1MB", "--threads", "1"]);
    let out = scene.path("out");
    let mut first = start(scene.quantize(&out, &[]));
    let mut refusals = 0;
    if wait_until(&mut first, || out.join(JOB_FILE).exists()) {
        for options in [&["--resume"], &["--force"]] {
            let (code, error) = run(scene.quantize(&out, options));
            refusals += usize::from(error.contains("another fourbit process is at work"));
            assert!(matches!(code, Some(0 | 2)), "{error}");
        }
    }
    first.wait().unwrap();
    if refusals == 2 {
        assert_same(&out, &scene.expected);
    }
    check_files(&out, &scene.expected);
}

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf, megabytes: u32) -> Option<SmallDisk> {
        std::fs::create_dir(&place).unwrap();
        let options = format!("size={megabytes}m,mode=777");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "fourbit-test"]).arg(&place).output();
        mount.is_ok_and(|o| o.status.success()).then_some(SmallDisk(place))
    }

    fn remount(&self, options: &str) {
        ok_system(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn ok_system(command: &mut Command) {
    assert!(command.status().unwrap().success());
}

#[test]
fn a_full_disk_is_reported_and_the_run_goes_on_when_there_is_room() {
    let scene = Scene::new(4, SHARDS);
    let total: usize = scene.expected.values().map(Vec::len).sum();
    assert!((8 << 20..14 << 20).contains(&total), "{total}");
    let Some(disk) = SmallDisk::mount(scene.path("disk"), 6) else {
        return skip("full disk: only root can mount a small file system");
    };
    let out = disk.0.join("out");
    refused(
        scene.quantize(&out, &[]),
        &["cannot reserve disk space", "No space left on device", ".safetensors"],
    );
    assert_eq!(names(&disk.0), [""; 0], "nothing remains");

    ok(scene.quantize(&out, &["--part", "1/2"]));
    let before = contents(&out);
    refused(scene.quantize(&out, &["--part", "2/2"]), &["No space left on device"]);
    assert_eq!(contents(&out), before, "the other part's files stay");
    disk.remount("size=5m,ro");
    refused(scene.quantize(&out, &["--part", "2/2"]), &["Read-only file system"]);
    assert_eq!(contents(&out), before);
    disk.remount("size=40m,rw");
    ok(scene.quantize(&out, &["--part", "2/2"]));
    ok(merge(&out));
    assert_same(&out, &scene.expected);
}

/// The command as a user without privileges, for whom permissions count.
fn as_nobody(command: Command) -> Command {
    let mut command = command;
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(65534).gid(65534);
    }
    command
}

#[test]
fn missing_permissions_are_reported() {
    let scene = Scene::new(1, &[]);
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(scene.directory.path(), 0o755);
    for name in names(&scene.source) {
        mode(&scene.source.join(name), 0o644);
    }
    let out = scene.path("out");
    std::fs::create_dir(&out).unwrap();
    let mut probe = as_nobody(Command::new(env!("CARGO_BIN_EXE_fourbit")));
    if probe.arg("--version").output().is_err() {
        return skip("permissions: another user cannot reach the program");
    }
    mode(&out, 0o555);
    let command = || as_nobody(quantize(&scene.source, &out, &[]));
    refused(command(), &["cannot ", "Permission denied", "out"]);
    refused(
        as_nobody(quantize(&scene.source, &out.join("deeper"), &[])),
        &["cannot create", "Permission denied"],
    );
    assert_eq!(names(&out), [""; 0]);
    mode(&out, 0o777);
    let shard = scene.source.join("model-00001-of-00002.safetensors");
    mode(&shard, 0o000);
    refused(command(), &["model-00001-of-00002.safetensors", "cannot open", "Permission denied"]);
    assert_eq!(names(&out), [""; 0]);
    mode(&shard, 0o644);
    ok(command());
    assert_same(&out, &scene.expected);
}

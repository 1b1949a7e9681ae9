//! A checkpoint written in parts, or in several attempts, is the one that a single run writes.

mod job_support;

use std::ops::ControlFlow;
use std::path::Path;

use fourbit::Error;
use fourbit::backend::cpu::CpuConfig;
use fourbit::checkpoint::{
    Checkpoint, JOB_FILE, JobMode, Part, Phase, Progress, SaveOptions, quantize_checkpoint, quantized_config,
};
use fourbit::config::QuantizationConfig;
use fourbit::dtype::FloatType;
use fourbit::plan::PlanOptions;
use fourbit::quant::QuantSpec;
use job_support::{Scene, assert_same, contents, merge, names, ok, refused, run, start, write_model};

const SHARDS: &[&str] = &["--max-shard-size", "1MB"];

#[test]
fn parts_at_once_in_one_directory_make_the_same_checkpoint() {
    for (options, count) in [(SHARDS, 3), (&["--max-shard-size", "1MB", "--no-double-quant"], 2)] {
        let scene = Scene::new(1, options);
        assert!(scene.shards() > 3);
        let out = scene.path("parts");
        let parts: Vec<_> =
            (1..=count).map(|i| start(scene.quantize(&out, &["--part", &format!("{i}/{count}")]))).collect();
        for part in parts {
            let output = part.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(
            !names(&out).contains(&"model.safetensors.index.json".to_owned()),
            "only merging completes it"
        );
        ok(merge(&out));
        assert_same(&out, &scene.expected);
        refused(merge(&out), &["merged already"]);
    }
}

#[test]
fn parts_from_several_machines_are_copied_together() {
    let scene = Scene::new(1, SHARDS);
    let together = scene.path("together");
    std::fs::create_dir(&together).unwrap();
    for i in 1..=3 {
        // Every machine has its own copy of the source, with its own modification times.
        let (copy, out) = (scene.path(&format!("source{i}")), scene.path(&format!("out{i}")));
        std::fs::create_dir(&copy).unwrap();
        contents(&scene.source).iter().for_each(|(n, b)| std::fs::write(copy.join(n), b).unwrap());
        let part = format!("{i}/3");
        ok(job_support::quantize(&copy, &out, &[SHARDS, &["--part", &part]].concat()));
        for (name, bytes) in contents(&out) {
            if name == JOB_FILE && i > 1 {
                assert_eq!(std::fs::read(together.join(&name)).unwrap(), bytes, "all parts agree on the job");
            }
            std::fs::write(together.join(name), bytes).unwrap();
        }
    }
    ok(merge(&together));
    assert_same(&together, &scene.expected);
}

#[test]
fn a_single_file_is_the_first_parts_and_the_others_have_nothing_to_do() {
    let scene = Scene::new(1, &[]);
    assert_eq!(scene.shards(), 1);
    let out = scene.path("parts");
    ok(scene.quantize(&out, &["--part", "3/3"]));
    assert_eq!(names(&out), [JOB_FILE]);
    refused(merge(&out), &["1 of 1 files are missing: model.safetensors", "run their parts again"]);
    ok(scene.quantize(&out, &["--part", "1/3"]));
    ok(merge(&out));
    assert_same(&out, &scene.expected);
}

#[test]
fn parts_may_be_repeated_and_divided_anew() {
    let scene = Scene::new(1, SHARDS);
    let out = scene.path("parts");
    ok(scene.quantize(&out, &["--prepare"]));
    assert_eq!(names(&out), [JOB_FILE]);
    ok(scene.quantize(&out, &["--part", "1/3"]));
    let before = contents(&out);
    ok(scene.quantize(&out, &["--part", "1/3", "--resume"]));
    assert_eq!(contents(&out), before);
    refused(merge(&out), &["files are missing"]);
    // A file that was cut short while it was copied counts as missing.
    let victim = before.keys().find(|n| n.ends_with(".safetensors")).unwrap();
    std::fs::write(out.join(victim), &before[victim][..1000]).unwrap();
    ok(scene.quantize(&out, &["--part", "1/2"]));
    ok(scene.quantize(&out, &["--part", "2/2"]));
    ok(merge(&out));
    assert_same(&out, &scene.expected);
}

#[test]
fn an_undivided_run_completes_what_parts_have_begun() {
    let scene = Scene::new(1, SHARDS);
    let out = scene.path("parts");
    ok(scene.quantize(&out, &["--part", "2/3"]));
    ok(scene.quantize(&out, &["--resume"]));
    assert_same(&out, &scene.expected);
}

#[test]
fn merging_finds_what_is_not_whole_or_does_not_belong() {
    let scene = Scene::new(1, SHARDS);
    let out = scene.path("parts");
    for i in 1..=2 {
        ok(scene.quantize(&out, &["--part", &format!("{i}/2")]));
    }
    let good = contents(&out);
    let name = good.keys().filter(|n| n.ends_with(".safetensors")).nth(1).unwrap().as_str();
    let shard = out.join(name);
    let bytes = &good[name];
    let spoil = |path: &Path, bytes: &[u8], words: &[&str]| {
        std::fs::write(path, bytes).unwrap();
        refused(merge(&out), words);
        std::fs::write(path, &good[path.file_name().unwrap().to_str().unwrap()]).unwrap();
        assert_eq!(contents(&out), good, "a refused merge changes nothing");
    };
    spoil(&shard, &bytes[..bytes.len() - 1], &[name, "not copied in full"]);
    let mut renamed = bytes.clone();
    let at = renamed.windows(7).position(|w| w == b".weight").unwrap();
    renamed[at] = b'-';
    spoil(&shard, &renamed, &[name, "belongs to another conversion"]);
    spoil(&shard, &vec![0xff; bytes.len()], &[name]);
    let job = out.join(JOB_FILE);
    let text = String::from_utf8(good[JOB_FILE].clone()).unwrap();
    spoil(&job, b"{", &[JOB_FILE]);
    spoil(&job, text.replace(name, "../../x.safetensors").as_bytes(), &["field shards[1].name"]);
    spoil(&job, text.replace("README.md", "../README.md").as_bytes(), &["field side_files"]);
    spoil(&job, text.replace("\"fourbit_job\": 1", "\"fourbit_job\": 2").as_bytes(), &["field fourbit_job"]);
    std::fs::remove_file(out.join("tokenizer.json")).unwrap();
    refused(merge(&out), &["tokenizer.json is missing"]);
    ok(scene.quantize(&out, &["--part", "1/2"]));
    ok(merge(&out));
    assert_same(&out, &scene.expected);
}

#[test]
fn another_conversion_is_not_mixed_in() {
    let scene = Scene::new(1, SHARDS);
    let out = scene.path("parts");
    ok(scene.quantize(&out, &["--part", "1/2"]));
    let before = contents(&out);
    let different = |options: &[&str], words: &[&str]| {
        refused(scene.quantize(&out, &[&["--part", "2/2"], options].concat()), words);
    };
    different(&["--block-size", "128"], &["recipe.block_size is 64 there, 128 here"]);
    different(&["--compute-dtype", "float16"], &["config is another one"]);
    different(&["--skip", "down_proj"], &["plan is"]);
    let other = scene.path("other");
    write_model(&other, 1, 2);
    let part = [SHARDS, &["--part", "2/2"]].concat();
    refused(job_support::quantize(&other, &out, &part), &["source.fingerprint is"]);
    refused(scene.quantize(&out, &[]), &["unfinished conversion", "--resume", "--force"]);
    assert_eq!(contents(&out), before);
    // Starting over is possible.
    ok(scene.quantize(&out, &["--force"]));
    assert_same(&out, &scene.expected);
    refused(scene.quantize(&out, &["--part", "2/2"]), &["holds README.md already"]);
    for bad in ["0/2", "3/2", "2"] {
        assert_eq!(run(scene.quantize(&out, &["--part", bad])).0, Some(2));
    }
}

/// Runs in this process; stops after `calls` calls of the progress function.
fn quantize_in_process(
    scene: &Scene,
    out: &Path,
    options: &SaveOptions,
    calls: usize,
) -> (Result<usize, Error>, usize) {
    let context = fourbit::Context::cpu(CpuConfig { threads: 1, ..CpuConfig::default() }).unwrap();
    let checkpoint = Checkpoint::open(&scene.source).unwrap();
    let plan = checkpoint.plan(&PlanOptions::default()).unwrap();
    let spec = QuantSpec { double_quant: true, ..QuantSpec::default() };
    let quantization = QuantizationConfig::from_spec(&spec, FloatType::Bf16);
    let config = quantized_config(&checkpoint, &plan, &quantization).unwrap();
    let options = SaveOptions { config, max_shard_size: 1_000_000, ..options.clone() };
    let (mut left, mut scans) = (calls, 0);
    let report =
        quantize_checkpoint(&context, &spec, &checkpoint, &plan, out, &options, &mut |p: &Progress<'_>| {
            scans += usize::from(p.phase == Phase::Scan);
            left = left.saturating_sub(1);
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    (report.map(|r| r.resumed), scans)
}

#[test]
fn a_cancelled_run_leaves_nothing_or_whole_files() {
    let scene = Scene::new(1, SHARDS);
    let (mut none, mut some) = (0, 0);
    for calls in 1.. {
        let out = scene.path(&format!("out{calls}"));
        let whole = quantize_in_process(&scene, &out, &SaveOptions::default(), calls).0;
        let resumable = SaveOptions { job: JobMode::Resumable, ..SaveOptions::default() };
        if whole.is_ok() {
            assert_same(&out, &scene.expected);
            break;
        }
        assert!(matches!(whole, Err(Error::Cancelled(_))));
        assert!(!out.exists(), "nothing remains by default");
        let error = quantize_in_process(&scene, &out, &resumable, calls).0.unwrap_err();
        assert!(matches!(error, Error::Cancelled(_)), "{error}");
        let left = contents(&out);
        let finished = left.keys().filter(|n| n.ends_with(".safetensors")).count();
        assert!(left.iter().all(|(name, bytes)| name == JOB_FILE || scene.expected[name] == *bytes));
        assert_eq!(left.contains_key(JOB_FILE), finished > 0);
        assert_eq!(out.exists(), finished > 0);
        let resume = SaveOptions { job: JobMode::Resume, ..SaveOptions::default() };
        let (resumed, scans) = quantize_in_process(&scene, &out, &resume, usize::MAX);
        assert_eq!(resumed.unwrap(), finished);
        assert_eq!(scans == 0, finished > 0, "the source is not scanned again");
        assert_same(&out, &scene.expected);
        *(if finished == 0 { &mut none } else { &mut some }) += 1;
    }
    assert!(none > 0 && some > 0, "cancelled {none} times without and {some} times with finished files");
}

#[test]
fn after_preparing_no_part_scans() {
    let scene = Scene::new(1, SHARDS);
    let out = scene.path("parts");
    let with = |job| SaveOptions { job, ..SaveOptions::default() };
    let (done, scans) = quantize_in_process(&scene, &out, &with(JobMode::Prepare), usize::MAX);
    assert!(done.is_ok() && scans > 0);
    for i in 1..=2 {
        let part = JobMode::Part(Part::new(i, 2).unwrap());
        let (done, scans) = quantize_in_process(&scene, &out, &with(part), usize::MAX);
        assert!(done.is_ok() && scans == 0);
    }
    fourbit::checkpoint::merge_parts(&out).unwrap();
    assert_same(&out, &scene.expected);
}

#[test]
fn an_earlier_checkpoint_is_replaced_only_by_a_whole_one() {
    let scene = Scene::new(1, SHARDS);
    let out = scene.path("out");
    for (name, bytes) in &scene.expected {
        std::fs::create_dir_all(&out).unwrap();
        // The same names and headers, other values.
        let mut bytes = bytes.clone();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(out.join(name), bytes).unwrap();
    }
    let before = contents(&out);
    let force = SaveOptions { job: JobMode::Resumable, force: true, ..SaveOptions::default() };
    for calls in [1, 2, 3] {
        let error = quantize_in_process(&scene, &out, &force, calls).0.unwrap_err();
        assert!(matches!(error, Error::Cancelled(_)), "{error}");
        assert_eq!(contents(&out), before);
    }
    let resume = SaveOptions { job: JobMode::Resume, ..SaveOptions::default() };
    let error = quantize_in_process(&scene, &out, &resume, usize::MAX).0.unwrap_err().to_string();
    assert!(error.contains("already"), "nothing there is taken for finished: {error}");
    quantize_in_process(&scene, &out, &force, usize::MAX).0.unwrap();
    assert_same(&out, &scene.expected);
}

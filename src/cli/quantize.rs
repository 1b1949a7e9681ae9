//! `fourbit quantize`.

use std::time::Instant;

use serde_json::json;

use fourbit::backend::cpu::CpuConfig;
use fourbit::checkpoint::{
    Checkpoint, JOB_FILE, JobMode, SaveOptions, SaveReport, quantize_checkpoint, quantized_config,
};
use fourbit::config::QuantizationConfig;
use fourbit::plan::Plan;
use fourbit::{Context, Error, Result};

use super::args::{QuantizeArgs, RunArgs, SaveArgs};
use super::progress::Meter;
use super::{Answer, interrupt, plan, print, table};

pub(crate) fn run(args: &QuantizeArgs) -> Result<Answer> {
    let started = Instant::now();
    let checkpoint = Checkpoint::open(&args.model_dir)?;
    let spec = args.recipe.spec();
    let plan = checkpoint.plan(&plan::options(&args.recipe))?;
    let quantization = QuantizationConfig::from_spec(&spec, args.recipe.compute_dtype);
    let options = SaveOptions {
        config: quantized_config(&checkpoint, &plan, &quantization)?,
        job: args.job.mode(),
        memory: args.job.memory,
        ..save_options(&args.save)
    };
    let context = context(&args.run)?;
    interrupt::listen();
    let mut meter = Meter::new("quantizing", args.run.quiet || args.run.json);
    let report =
        quantize_checkpoint(&context, &spec, &checkpoint, &plan, &args.out_dir, &options, &mut |p| {
            meter.show(p.done, p.total, p.tensor);
            interrupt::go_on()
        });
    meter.finish();
    let report = report.inspect_err(|error| hint(args, error))?;
    let seconds = started.elapsed().as_secs_f64();
    if args.run.json {
        print(&to_json(args, &plan, &report, seconds));
    } else if !args.run.quiet {
        print(&to_text(args, &plan, &report, seconds));
    }
    Ok(Answer::Yes)
}

pub(crate) fn save_options(args: &SaveArgs) -> SaveOptions {
    SaveOptions { max_shard_size: args.max_shard_size, force: args.force, ..SaveOptions::default() }
}

pub(crate) fn context(args: &RunArgs) -> Result<Context> {
    Context::cpu(CpuConfig { threads: args.threads, ..CpuConfig::default() })
}

/// After a failure: what there is to continue from.
fn hint(args: &QuantizeArgs, error: &Error) {
    let again = match args.job.mode() {
        JobMode::Part(_) => "run the part again",
        JobMode::Resumable | JobMode::Resume => "run again with --resume",
        JobMode::Prepare | JobMode::Whole => return,
    };
    if matches!(error, Error::Cancelled(_) | Error::Io { .. }) && args.out_dir.join(JOB_FILE).exists() {
        eprintln!("fourbit: finished files stay in {}: {again} to go on", args.out_dir.display());
    }
}

fn to_text(args: &QuantizeArgs, plan: &Plan, report: &SaveReport, seconds: f64) -> String {
    match args.job.mode() {
        JobMode::Prepare => {
            return format!(
                "{}: ready for its parts: {} file(s), {} of tensors, {seconds:.2} s",
                args.out_dir.display(),
                report.shards,
                table::bytes(report.total_size)
            );
        }
        JobMode::Part(part) => {
            let written = report.files.iter().filter(|f| f.extension().is_some_and(|e| e == "safetensors"));
            return format!(
                "part {part}: {} of the checkpoint's {} file(s) written, {} finished before, in {}, {seconds:.2} s",
                written.count(),
                report.shards,
                report.resumed,
                args.out_dir.display()
            );
        }
        _ => {}
    }
    let totals = plan.totals();
    let mut result = table::new(
        &["", "tensors", "bytes before", "bytes after"],
        &["tensors", "bytes before", "bytes after"],
    );
    for (name, converted, count) in [("4-bit", true, totals.converted), ("kept", false, totals.kept)] {
        let of_kind = || plan.entries.iter().filter(|e| e.is_converted() == converted);
        result.add_row([
            name.to_owned(),
            count.to_string(),
            table::bytes(of_kind().map(|e| e.bytes_before).sum()),
            table::bytes(of_kind().map(|e| e.bytes_after).sum()),
        ]);
    }
    result.add_row([
        "total".to_owned(),
        (totals.converted + totals.kept).to_string(),
        table::bytes(totals.bytes_before),
        table::bytes(report.total_size),
    ]);
    let resumed = match report.resumed {
        0 => String::new(),
        n => format!(" ({n} finished before)"),
    };
    format!(
        "{result}\n{} -> {} file(s){resumed} in {}, {seconds:.2} s ({}/s of source)",
        args.model_dir.display(),
        report.shards,
        args.out_dir.display(),
        table::bytes((totals.bytes_before as f64 / seconds) as u64),
    ) + &plan.notes.iter().map(|note| format!("\nnote: {note}")).collect::<String>()
}

fn to_json(args: &QuantizeArgs, plan: &Plan, report: &SaveReport, seconds: f64) -> String {
    let totals = plan.totals();
    let files: Vec<String> = report.files.iter().map(|f| f.display().to_string()).collect();
    let result = json!({
        "model_dir": args.model_dir.display().to_string(),
        "out_dir": args.out_dir.display().to_string(),
        "model_type": plan.model_type,
        "profile": plan.profile.name(),
        "converted": totals.converted,
        "kept": totals.kept,
        "bytes_before": totals.bytes_before,
        "bytes_after": report.total_size,
        "shards": report.shards,
        "resumed": report.resumed,
        "files": files,
        "seconds": seconds,
        "notes": plan.notes,
    });
    format!("{result:#}")
}

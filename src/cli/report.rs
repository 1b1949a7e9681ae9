//! `fourbit report`: one page about a quantized checkpoint and its source.

use serde_json::{Value, json};

use fourbit::backend::cpu::CpuConfig;
use fourbit::checkpoint::{Checkpoint, check_replaceable, write_text};
use fourbit::{Context, Result};

use super::args::{DeviceMapArgs, ReportArgs};
use super::progress::Meter;
use super::{Answer, device_map, interrupt, print, table};
use crate::report::facts::{ErrorSum, Facts};
use crate::report::{add_maps, collect, page};

pub(crate) fn run(args: &ReportArgs) -> Result<Answer> {
    check_replaceable(&args.output, args.force)?;
    let source = Checkpoint::open(&args.model_dir)?;
    let quantized = Checkpoint::open(&args.quantized_dir)?;
    let map = device_map::options(&map_args(args))?;
    let context = Context::cpu(CpuConfig { threads: args.threads, ..CpuConfig::default() })?;
    interrupt::listen();
    let mut meter = Meter::new("comparing", args.quiet || args.json);
    let collected = collect(&context, &source, &quantized, &mut |done, total, tensor| {
        meter.count(done, total, tensor);
        interrupt::go_on()
    });
    meter.finish();
    let mut collected = collected?;
    if let Some(options) = &map {
        add_maps(&source, &quantized, &collected.plan, options, &mut collected.facts)?;
    }
    let facts = collected.facts;
    let html = page(&facts);
    write_text(&args.output, &html, args.force)?;
    let good = facts.findings.is_empty();
    if args.json {
        print(&format!("{:#}", to_json(args, &facts, html.len())));
    } else if !args.quiet {
        print(&to_text(args, &facts, html.len()));
    }
    Ok(if good { Answer::Yes } else { Answer::No })
}

/// Limits without a way to share out mean `auto`.
fn map_args(args: &ReportArgs) -> DeviceMapArgs {
    let auto = || args.max_memory.as_ref().map(|_| "auto".to_owned());
    DeviceMapArgs {
        device_map: args.device_map.clone().or_else(auto),
        max_memory: args.max_memory.clone(),
        offload: args.offload,
    }
}

fn to_text(args: &ReportArgs, facts: &Facts, length: usize) -> String {
    let sum = ErrorSum::of(&facts.weights);
    let verdict = match facts.findings.as_slice() {
        [] => "everything is as planned".to_owned(),
        [first, ..] => format!(
            "{}, such as {}: {}",
            table::count(facts.findings.len(), "finding"),
            super::names::printable(&first.tensor),
            super::names::printable(&first.words)
        ),
    };
    let snr = sum.snr_db();
    let snr = if snr.is_finite() { format!(", SNR {snr:.2} dB") } else { String::new() };
    format!(
        "{}: {}\n{} in 4 bits, {} kept{snr}: {verdict}",
        args.output.display(),
        table::bytes(length as u64),
        table::count(facts.weights.len(), "tensor"),
        facts.kept,
    )
}

fn to_json(args: &ReportArgs, facts: &Facts, length: usize) -> Value {
    let finite = |value: f64| value.is_finite().then_some(value);
    let sum = ErrorSum::of(&facts.weights);
    let findings = facts.findings.iter().map(|f| json!({"name": f.tensor, "finding": f.words}));
    let sizes = facts.sizes.iter().map(
        |s| json!({"what": s.label, "tensors": s.tensors, "bytes_before": s.before, "bytes_after": s.after}),
    );
    json!({
        "file": args.output.display().to_string(),
        "bytes": length,
        "ok": facts.findings.is_empty(),
        "weights": facts.weights.len(),
        "kept": facts.kept,
        "snr_db": finite(sum.snr_db()),
        "rms_error": finite(sum.rms()),
        "max_error": finite(sum.max),
        "sizes": sizes.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

//! `fourbit dequantize`.

use std::time::Instant;

use serde_json::json;

use fourbit::Result;
use fourbit::checkpoint::{Checkpoint, Entry, dequantize_model};

use super::args::DequantizeArgs;
use super::progress::Meter;
use super::quantize::{context, save_options};
use super::{Answer, interrupt, print, table};

pub(crate) fn run(args: &DequantizeArgs) -> Result<Answer> {
    let started = Instant::now();
    let checkpoint = Checkpoint::open(&args.quantized_dir)?;
    let context = context(&args.run)?;
    interrupt::listen();
    let mut meter = Meter::new("dequantizing", args.run.quiet || args.run.json);
    let options = save_options(&args.save);
    let report = dequantize_model(&context, &checkpoint, args.dtype, &args.out_dir, &options, &mut |p| {
        meter.show(p.done, p.total, p.tensor);
        interrupt::go_on()
    });
    meter.finish();
    let report = report?;
    let seconds = started.elapsed().as_secs_f64();
    let weights = checkpoint.entries().iter().filter(|e| matches!(e, Entry::Weight(_))).count();
    if args.run.json {
        let files: Vec<String> = report.files.iter().map(|f| f.display().to_string()).collect();
        let result = json!({
            "quantized_dir": args.quantized_dir.display().to_string(),
            "out_dir": args.out_dir.display().to_string(),
            "dequantized": weights,
            "copied": checkpoint.entries().len() - weights,
            "bytes_after": report.total_size,
            "files": files,
            "seconds": seconds,
        });
        print(&format!("{result:#}"));
    } else if !args.run.quiet {
        print(&format!(
            "{weights} weights dequantized, {} tensors copied; {} in {} file(s) in {}, {seconds:.2} s",
            checkpoint.entries().len() - weights,
            table::bytes(report.total_size),
            report.shards,
            args.out_dir.display(),
        ));
    }
    Ok(Answer::Yes)
}

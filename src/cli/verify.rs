//! `fourbit verify`: is a quantized checkpoint what its config says, and how far is it from its
//! source?

use serde_json::{Value, json};

use fourbit::backend::cpu::CpuConfig;
use fourbit::checkpoint::{Checkpoint, TensorCheck, Verdict, plan_as_written, verify};
use fourbit::{Context, Result};

use super::args::VerifyArgs;
use super::{Answer, print, table};

pub(crate) fn run(args: &VerifyArgs) -> Result<Answer> {
    let source = Checkpoint::open(&args.model_dir)?;
    let quantized = Checkpoint::open(&args.quantized_dir)?;
    let plan = plan_as_written(&source, &quantized)?;
    let context = Context::cpu(CpuConfig { threads: args.threads, ..CpuConfig::default() })?;
    let checks = verify(&context, &source, &quantized, &plan)?.collect::<Result<Vec<_>>>()?;
    let good = checks.iter().all(|c| c.verdict.is_as_planned());
    if args.json {
        let tensors: Vec<Value> = checks.iter().map(to_json).collect();
        print(&format!("{:#}", json!({"profile": plan.profile.name(), "ok": good, "tensors": tensors})));
    } else {
        print(&to_text(&checks));
    }
    Ok(if good { Answer::Yes } else { Answer::No })
}

/// One word per verdict, and the words of a difference.
fn words(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Converted(_) => ("4-bit", ""),
        Verdict::Kept => ("kept", ""),
        Verdict::Missing => ("missing", ""),
        Verdict::Unexpected => ("unexpected", ""),
        Verdict::Different(why) => ("different", why),
    }
}

fn to_text(checks: &[TensorCheck]) -> String {
    let header = ["tensor", "found", "max error", "mean error", "RMS error", "SNR dB"];
    let mut listing = table::new(&header, &header[2..]);
    for check in checks {
        let (word, why) = words(&check.verdict);
        let mut row =
            vec![check.name.clone(), if why.is_empty() { word.into() } else { format!("{word}: {why}") }];
        if let Verdict::Converted(e) = &check.verdict {
            row.extend([e.max, e.mean, e.rms].map(|v| format!("{v:.3e}")));
            row.push(format!("{:.2}", e.snr_db));
        }
        listing.add_row(row);
    }
    let wrong = checks.iter().filter(|c| !c.verdict.is_as_planned()).count();
    let weights = checks.iter().filter(|c| matches!(c.verdict, Verdict::Converted(_))).count();
    let verdict = match wrong {
        0 => "everything is as planned".to_owned(),
        n => format!("{n} tensor(s) are missing or not as planned"),
    };
    format!("{listing}\n{} tensors, {weights} in 4 bits: {verdict}", checks.len())
}

fn to_json(check: &TensorCheck) -> Value {
    let (word, why) = words(&check.verdict);
    let mut value = json!({"name": check.name, "found": word, "ok": check.verdict.is_as_planned()});
    if !why.is_empty() {
        value["why"] = json!(why);
    }
    if let Verdict::Converted(e) = &check.verdict {
        // JSON has no infinity: an exact weight has no noise, hence no ratio.
        let snr = e.snr_db.is_finite().then_some(e.snr_db);
        value["max_error"] = json!(e.max);
        value["mean_error"] = json!(e.mean);
        value["rms_error"] = json!(e.rms);
        value["snr_db"] = json!(snr);
    }
    value
}

//! `fourbit plan --diff A B`: where two profiles decide differently.

use serde_json::{Value, json};

use fourbit::Result;
use fourbit::checkpoint::Checkpoint;
use fourbit::plan::{Plan, PlanEntry, PlanOptions, Profile};
use fourbit::quant::QuantSpec;

use super::fold::fold;
use super::listing::{becomes, folded_names};
use crate::cli::names::{printable, short};
use crate::cli::table;

/// The comparison as text or JSON, and whether both decide alike.
pub(super) fn run(
    checkpoint: &Checkpoint,
    options: &PlanOptions,
    profiles: [Profile; 2],
    as_json: bool,
) -> Result<(String, bool)> {
    let plan = |profile| checkpoint.plan(&PlanOptions { profile, ..options.clone() });
    let plans = [plan(profiles[0])?, plan(profiles[1])?];
    let pairs = plans[0].entries.iter().zip(&plans[1].entries);
    let pairs: Vec<(&PlanEntry, &PlanEntry)> =
        pairs.filter(|(a, b)| (a.action, a.device) != (b.action, b.device)).collect();
    let same = pairs.is_empty();
    let text = if as_json {
        format!("{:#}", to_json(&plans, &pairs, &options.spec))
    } else {
        to_text(&plans, &pairs, &options.spec)
    };
    Ok((text, same))
}

fn to_text(plans: &[Plan; 2], pairs: &[(&PlanEntry, &PlanEntry)], spec: &QuantSpec) -> String {
    let names = plans.each_ref().map(|plan| plan.profile.name());
    let model = printable(plans[0].model_type.as_deref().unwrap_or("not given"));
    let tensors = table::count(plans[0].entries.len(), "tensor");
    if pairs.is_empty() {
        return format!(
            "{} and {} decide alike about all {tensors} (model type {model})",
            names[0], names[1]
        );
    }
    let mut table = vec![["", "tensors", names[0], names[1]].map(str::to_owned).to_vec()];
    table.extend(lines(pairs, spec));
    let bytes = plans.each_ref().map(|plan| table::bytes(plan.totals().bytes_after));
    let converted = plans.each_ref().map(|plan| plan.totals().converted);
    format!(
        "{}\n{} of {tensors} are decided differently (model type {model})\n{}: {} converted, {}; {}: {} converted, {}{}",
        table::columns(&table, &[1]),
        pairs.len(),
        names[0],
        converted[0],
        bytes[0],
        names[1],
        converted[1],
        bytes[1],
        lists(plans),
    )
}

/// The two skip lists, if they differ.
fn lists(plans: &[Plan; 2]) -> String {
    if plans[0].skip_modules == plans[1].skip_modules {
        return String::new();
    }
    let list = |plan: &Plan| {
        let words = match plan.skip_modules.as_deref() {
            None => "null".to_owned(),
            Some([]) => "none".to_owned(),
            Some(list) => folded_names(list).join(", "),
        };
        format!("\nllm_int8_skip_modules of {}: {words}", plan.profile.name())
    };
    plans.iter().map(list).collect()
}

/// What a side decides, in words: what the tensor becomes, where it goes, why.
fn words(entry: &PlanEntry, spec: &QuantSpec) -> String {
    let at = entry.device.map(|device| format!(" on {device}")).unwrap_or_default();
    let verb = if entry.is_converted() { "" } else { "kept as " };
    printable(&format!("{verb}{}{at}: {}", becomes(entry, spec), entry.reason))
}

/// What stands between the two sides' words: made visible in them by `printable`, so in neither.
const BETWEEN: &str = " \n ";

/// A line per difference, blocks folded where both sides decide alike: name, tensors, both sides.
fn lines(pairs: &[(&PlanEntry, &PlanEntry)], spec: &QuantSpec) -> Vec<Vec<String>> {
    let both = |(a, b): &(&PlanEntry, &PlanEntry)| {
        let reason = [words(a, spec), words(b, spec)].join(BETWEEN);
        PlanEntry { reason, ..(*a).clone() }
    };
    let both: Vec<PlanEntry> = pairs.iter().map(both).collect();
    let mut lines = Vec::new();
    for group in &fold(&both) {
        for row in &group.rows {
            let dot = if group.name.is_empty() { "" } else { "." };
            let name = printable(&format!("{}{dot}{}", group.name, short(&row.name)));
            let (a, b) = row.reason.split_once(BETWEEN).unwrap_or((&row.reason, ""));
            lines.push(vec![name, row.count.to_string(), a.to_owned(), b.to_owned()]);
        }
    }
    lines
}

fn to_json(plans: &[Plan; 2], pairs: &[(&PlanEntry, &PlanEntry)], spec: &QuantSpec) -> Value {
    let side = |entry: &PlanEntry| {
        json!({"converted": entry.is_converted(), "becomes": becomes(entry, spec), "reason": entry.reason,
               "bytes_after": entry.bytes_after, "device": entry.device})
    };
    let differences = pairs.iter().map(|(a, b)| json!({"name": a.source.name, "a": side(a), "b": side(b)}));
    let totals = plans.each_ref().map(|plan| {
        let totals = plan.totals();
        json!({"profile": plan.profile.name(), "converted": totals.converted, "kept": totals.kept,
               "bytes_after": totals.bytes_after, "skip_modules": plan.skip_modules})
    });
    let [a, b] = totals;
    json!({"a": a, "b": b, "differences": differences.collect::<Vec<_>>()})
}

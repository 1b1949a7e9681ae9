//! `fourbit plan --why NAME`: how one decision came about.

use serde_json::{Value, json};

use fourbit::Result;
use fourbit::checkpoint::Checkpoint;
use fourbit::plan::{
    Action, Explanation, PatternSet, Plan, PlanEntry, PlanOptions, Profile, Reader, SourceTensor,
};

use super::listing::{becomes, shape};
use super::lookup;
use crate::cli::names::{printable, short};
use crate::cli::table;

/// What each profile does with the tensor.
struct Other {
    profile: Profile,
    converted: bool,
    target: String,
    reason: String,
}

/// Explains the tensor that `query` stands for.
pub(super) fn run(
    checkpoint: &Checkpoint,
    plan: &Plan,
    options: &PlanOptions,
    query: &str,
    as_json: bool,
) -> Result<String> {
    let found = lookup::find(&plan.entries, plan.skip_modules.as_deref().unwrap_or_default(), query)?;
    let entry = &plan.entries[found.index];
    let sources: Vec<SourceTensor> = plan.entries.iter().map(|e| e.source.clone()).collect();
    let config = checkpoint.config()?.cloned().unwrap_or_default();
    let explanation = Plan::explain(&config, &sources, options, found.index)?;
    let others = others(checkpoint, plan, options, found.index)?;
    let skipped = skipped_by(plan, &explanation)?;
    if as_json {
        return Ok(format!("{:#}", to_json(plan, entry, &explanation, &others, &skipped, found.alike)));
    }
    let mut text = format!("{}\n", printable(&entry.source.name));
    if found.alike > 1 {
        text += &format!("  (one of {} that are decided alike: {})\n", found.alike, short(&found.names));
    }
    text += &steps(checkpoint, plan, entry, options, &explanation, &skipped)?;
    text += "\nother profiles\n";
    let line = |o: &Other| {
        let verb = if o.converted { "converts" } else { "keeps" };
        vec![format!("  {}", o.profile.name()), format!("{verb}: {}", o.target), printable(&o.reason)]
    };
    text += &table::columns(&others.iter().map(line).collect::<Vec<_>>(), &[]);
    Ok(text)
}

fn others(checkpoint: &Checkpoint, plan: &Plan, options: &PlanOptions, index: usize) -> Result<Vec<Other>> {
    let profiles = [Profile::Portable, Profile::V5, Profile::V4, Profile::V441];
    let other = |profile: Profile| {
        let options = PlanOptions { profile, device_map: None, ..options.clone() };
        let entry = checkpoint.plan(&options)?.entries.swap_remove(index);
        Ok(Other {
            profile,
            converted: entry.is_converted(),
            target: becomes(&entry, &options.spec),
            reason: entry.reason,
        })
    };
    profiles.into_iter().filter(|profile| *profile != plan.profile).map(other).collect()
}

/// By which entry of the written list each reader leaves the module alone.
fn skipped_by(plan: &Plan, explanation: &Explanation) -> Result<Vec<(&'static str, String)>> {
    let set = PatternSet::new(plan.skip_modules.as_deref().unwrap_or_default())?;
    let hit = |reader: Reader| {
        let entry = explanation.paths.iter().find_map(|path| set.skips(reader, path))?;
        Some((reader.name(), entry.to_owned()))
    };
    Ok(Reader::ALL.into_iter().filter_map(hit).collect())
}

fn steps(
    checkpoint: &Checkpoint,
    plan: &Plan,
    entry: &PlanEntry,
    options: &PlanOptions,
    explanation: &Explanation,
    skipped: &[(&str, String)],
) -> Result<String> {
    let mut steps: Vec<(&str, String)> = Vec::new();
    let stored = checkpoint.find(&entry.source.name).map(|i| &checkpoint.tensors()[i]);
    let file = stored.and_then(|t| checkpoint.shards()[t.shard].path().file_name());
    let file = file.map(|f| printable(&f.to_string_lossy())).unwrap_or_default();
    let source = &entry.source;
    let dims = match source.shape.dims().len() {
        0 => "a single number".to_owned(),
        _ => shape(source.shape.dims()),
    };
    steps.push((
        "stored",
        format!("{} {dims}, {} in {file}", source.dtype.safetensors_name(), table::bytes(entry.bytes_before)),
    ));
    steps.push(("model", printable(&explanation.architecture)));
    if explanation.paths.len() > 1 {
        steps.push(("also called", printable(&explanation.paths[1..].join(", "))));
    }
    for opinion in &explanation.opinions {
        let verb = if opinion.is_converted { "converts" } else { "keeps" };
        let say = if opinion.is_asked { "" } else { "   (not asked)" };
        let words = format!("{verb}: {}{say}\n  {}", opinion.reason, opinion.source);
        steps.push((opinion.version, printable_lines(&words)));
    }
    let profile = match (plan.profile, &explanation.on_top) {
        (_, Some((reason, source))) => format!("on top of that: {reason}\n  {source}"),
        (Profile::Portable, None) if entry.is_converted() => {
            "every version that is asked converts it, and nothing else speaks against".to_owned()
        }
        (Profile::Portable, None) => "converts only what every version that is asked converts".to_owned(),
        (_, None) => "as that version alone".to_owned(),
    };
    steps.push(("profile", printable_lines(&format!("{}: {profile}", plan.profile.name()))));
    steps.push(("decision", format!("{}: {}", decision(entry, options), printable(&entry.reason))));
    if let Some((dtype, source)) = &explanation.dtype {
        steps.push(("dtype", format!("{} ({source})", dtype.torch_name())));
    }
    if let Some(device) = entry.device {
        steps.push(("device", format!("{device} (by the device map that was asked for)")));
    }
    steps.push(("bytes", bytes(entry)));
    match skipped {
        [] if entry.is_converted() => {
            steps.push(("skip list", "no entry names it, for any reader".to_owned()))
        }
        [] => steps.push(("skip list", "no entry names it: readers leave it alone by themselves".to_owned())),
        hits => {
            let hit = |(reader, entry): &(&str, String)| format!("{reader}: \"{}\"", printable(entry));
            steps.push(("skip list", hits.iter().map(hit).collect::<Vec<_>>().join("\n")));
        }
    }
    Ok(numbered(&steps))
}

fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

fn numbered(steps: &[(&str, String)]) -> String {
    let mut lines = Vec::new();
    for (i, (title, text)) in steps.iter().enumerate() {
        for (j, line) in text.split('\n').enumerate() {
            let (number, title) =
                if j == 0 { (format!("{:>2}.", i + 1), *title) } else { (String::new(), "") };
            lines.push(vec![number, title.to_owned(), line.to_owned()]);
        }
    }
    table::columns(&lines, &[])
}

fn decision(entry: &PlanEntry, options: &PlanOptions) -> String {
    match entry.action {
        Action::Quantize { .. } => {
            let double = if options.spec.double_quant { ", double quantization" } else { "" };
            format!("{}, block size {}{double}", becomes(entry, &options.spec), options.spec.block_size.get())
        }
        Action::Keep { .. } => format!("kept as {}", becomes(entry, &options.spec)),
    }
}

fn bytes(entry: &PlanEntry) -> String {
    let bits = 8.0 * entry.bytes_after as f64 / entry.source.shape.numel().max(1) as f64;
    let statistics = if entry.is_converted() { ", statistics included" } else { "" };
    format!("{} -> {}: {bits:.3} bits per element{statistics}", entry.bytes_before, entry.bytes_after)
}

fn to_json(
    plan: &Plan,
    entry: &PlanEntry,
    explanation: &Explanation,
    others: &[Other],
    skipped: &[(&str, String)],
    alike: usize,
) -> Value {
    let versions = explanation.opinions.iter().map(|o| {
        json!({
            "version": o.version, "asked": o.is_asked, "converted": o.is_converted, "reason": o.reason,
            "source": o.source,
        })
    });
    let others = others.iter().map(|o| {
        json!({"profile": o.profile.name(), "converted": o.converted, "becomes": o.target, "reason": o.reason})
    });
    let skipped = skipped.iter().map(|(reader, entry)| json!({"reader": reader, "entry": entry}));
    json!({
        "name": entry.source.name,
        "alike": alike,
        "profile": plan.profile.name(),
        "mode": plan.mode.name(),
        "architecture": explanation.architecture,
        "paths": explanation.paths,
        "converted": entry.is_converted(),
        "reason": entry.reason,
        "on_top": explanation.on_top.as_ref().map(|(reason, source)| json!({"reason": reason, "source": source})),
        "versions": versions.collect::<Vec<_>>(),
        "other_profiles": others.collect::<Vec<_>>(),
        "dtype": explanation.dtype.as_ref().map(|(dtype, source)| json!({"name": dtype.torch_name(), "source": source})),
        "device": entry.device,
        "bytes_before": entry.bytes_before,
        "bytes_after": entry.bytes_after,
        "skipped_by": skipped.collect::<Vec<_>>(),
    })
}

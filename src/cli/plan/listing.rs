//! A plan as text: a table of blocks, what is kept and why, totals, warnings.

use std::collections::BTreeMap;

use fourbit::Result;
use fourbit::checkpoint::Checkpoint;
use fourbit::config;
use fourbit::dtype::DType;
use fourbit::plan::{Action, Mode, Plan, PlanEntry};
use fourbit::quant::QuantSpec;

use super::fold::{Group, Row, fold};
use crate::cli::names::{printable, short};
use crate::cli::table;

/// The whole listing. `full`: every tensor by itself.
pub(super) fn text(checkpoint: &Checkpoint, plan: &Plan, spec: &QuantSpec, full: bool) -> Result<String> {
    let tensors = if full { every_tensor(plan, spec) } else { blocks(plan, spec) };
    let parts =
        [heading(checkpoint, plan, spec)?, tensors, kept(plan), skip_list(plan), notes(plan), totals(plan)];
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    Ok(parts.join("\n\n"))
}

fn heading(checkpoint: &Checkpoint, plan: &Plan, spec: &QuantSpec) -> Result<String> {
    let config = checkpoint.config()?;
    let class = config.and_then(config::architecture);
    let class = class.map(|class| format!(" ({})", printable(class))).unwrap_or_default();
    let double = if spec.double_quant { "double quantization" } else { "float32 absmax" };
    Ok(format!(
        "{}\nmodel type {}{class}, {} in {}\n\
         profile {}, decided by {}\n{}, block size {}, {double}, loaded as {}",
        printable(&checkpoint.directory().display().to_string()),
        printable(plan.model_type.as_deref().unwrap_or("not given")),
        table::count(plan.entries.len(), "tensor"),
        table::count(checkpoint.shards().len(), "file"),
        plan.profile.name(),
        match plan.mode {
            Mode::Table => "the table of architectures",
            Mode::Generic => "names, shapes and config (generic mode: not in the table of architectures)",
        },
        spec.quant_type.name(),
        spec.block_size.get(),
        plan.dtype.torch_name(),
    ))
}

/// What becomes of a tensor: `nf4`, `nf4 from float32`, `BF16`.
pub(super) fn becomes(entry: &PlanEntry, spec: &QuantSpec) -> String {
    match entry.action {
        Action::Quantize { dtype, transpose } => {
            let cast = match DType::from(dtype) == entry.source.dtype {
                true => String::new(),
                false => format!(" from {}", dtype.torch_name()),
            };
            format!("{}{cast}{}", spec.quant_type.name(), if transpose { ", transposed" } else { "" })
        }
        Action::Keep { dtype } => dtype.safetensors_name().to_owned(),
    }
}

/// `576x192`; nothing for a single number.
pub(super) fn shape(dims: &[u64]) -> String {
    dims.iter().map(u64::to_string).collect::<Vec<_>>().join("x")
}

/// Columns whose numbers are aligned to the right: count, before, after.
const RIGHT: [usize; 3] = [4, 5, 6];

fn header(name: &str, devices: bool) -> Vec<String> {
    let mut cells = vec![name, "shape", "stored", "becomes", "tensors", "before", "after"];
    cells.extend(devices.then_some("device"));
    cells.push("why");
    cells.into_iter().map(str::to_owned).collect()
}

/// Every block, alike ones folded.
fn blocks(plan: &Plan, spec: &QuantSpec) -> String {
    let devices = plan.entries.iter().any(|e| e.device.is_some());
    let mut lines = vec![header("", devices)];
    for group in &fold(&plan.entries) {
        let indent = if group.blocks == 0 { "" } else { "  " };
        if group.blocks > 0 {
            lines.push(group_line(group));
        }
        lines.extend(group.rows.iter().map(|row| row_line(row, indent, spec, devices)));
    }
    table::columns(&lines, &RIGHT)
}

fn group_line(group: &Group) -> Vec<String> {
    let (count, before, after) = group.totals();
    let alike = if group.blocks == 1 { String::new() } else { format!("{} blocks", group.blocks) };
    vec![
        printable(&group.name),
        String::new(),
        String::new(),
        alike,
        count.to_string(),
        table::bytes(before),
        table::bytes(after),
        String::new(),
    ]
}

pub(super) fn row_line(row: &Row, indent: &str, spec: &QuantSpec, devices: bool) -> Vec<String> {
    let mut line = vec![
        format!("{indent}{}", printable(short(&row.name))),
        shape(row.first.source.shape.dims()),
        row.first.source.dtype.safetensors_name().to_owned(),
        becomes(row.first, spec),
        row.count.to_string(),
        table::bytes(row.before),
        table::bytes(row.after),
    ];
    line.extend(devices.then(|| row.first.device.map(|d| d.to_string()).unwrap_or_default()));
    line.push(printable(&row.reason));
    line
}

/// One line per tensor, bytes in full.
fn every_tensor(plan: &Plan, spec: &QuantSpec) -> String {
    let devices = plan.entries.iter().any(|e| e.device.is_some());
    let mut head = header("tensor", devices);
    head.remove(4);
    let mut lines = vec![head];
    for entry in &plan.entries {
        let mut line = vec![
            printable(&entry.source.name),
            shape(entry.source.shape.dims()),
            entry.source.dtype.safetensors_name().to_owned(),
            becomes(entry, spec),
            entry.bytes_before.to_string(),
            entry.bytes_after.to_string(),
        ];
        line.extend(devices.then(|| entry.device.map(|d| d.to_string()).unwrap_or_default()));
        line.push(printable(&entry.reason));
        lines.push(line);
    }
    table::columns(&lines, &[4, 5])
}

/// Names of one reason that are written out.
const NAMES_SHOWN: usize = 4;

/// What is not converted, by reason.
fn kept(plan: &Plan) -> String {
    let mut reasons: BTreeMap<String, (usize, u64, Vec<String>)> = BTreeMap::new();
    for group in &fold(plan.entries.iter().filter(|e| !e.is_converted())) {
        for row in &group.rows {
            let (count, bytes, names) = reasons.entry(printable(&row.reason)).or_default();
            *count += row.count;
            *bytes = bytes.saturating_add(row.after);
            let dot = if group.name.is_empty() { "" } else { "." };
            names.push(printable(&format!("{}{dot}{}", group.name, short(&row.name))));
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by(|(a, (_, x, _)), (b, (_, y, _))| y.cmp(x).then_with(|| a.cmp(b)));
    let mut lines = Vec::new();
    for (reason, (count, bytes, names)) in reasons {
        let mut shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > NAMES_SHOWN {
            shown += ", …";
        }
        lines.push(vec![format!("  {reason}"), table::count(count, "tensor"), table::bytes(bytes), shown]);
    }
    format!("not converted\n{}", table::columns(&lines, &[1, 2]))
}

/// The list that is written, blocks folded.
fn skip_list(plan: &Plan) -> String {
    match plan.skip_modules.as_deref() {
        None => "llm_int8_skip_modules: null, so that the reader detects by itself what to leave".to_owned(),
        Some([]) => "llm_int8_skip_modules: none".to_owned(),
        Some(list) => format!("llm_int8_skip_modules: {}", folded_names(list).join(", ")),
    }
}

/// Paths with the numbers of blocks as ranges.
pub(crate) fn folded_names(names: &[String]) -> Vec<String> {
    let mut order: Vec<(String, Vec<u64>, String)> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        // A module that is itself a block has nothing below its number.
        let dotted = format!("{name}.");
        let Some((list, number, rest)) = super::fold::block_of(&dotted) else {
            order.push((name.clone(), Vec::new(), String::new()));
            continue;
        };
        let rest = rest.trim_end_matches('.');
        let key = format!("{list}.*.{rest}");
        match known.get(&key) {
            Some(&i) => order[i].1.push(number),
            None => {
                known.insert(key, order.len());
                order.push((list.to_owned(), vec![number], rest.to_owned()));
            }
        }
    }
    let text = |(list, mut numbers, rest): (String, Vec<u64>, String)| {
        numbers.sort_unstable();
        let parts = [list, crate::cli::names::ranges(&numbers), rest];
        let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        printable(&parts.join("."))
    };
    order.into_iter().map(text).collect()
}

fn notes(plan: &Plan) -> String {
    plan.notes.iter().map(|note| format!("note: {}\n", printable(note))).collect()
}

fn totals(plan: &Plan) -> String {
    let totals = plan.totals();
    let mut elements = 0u64;
    let mut bytes = 0u64;
    for entry in plan.entries.iter().filter(|e| e.is_converted()) {
        elements = elements.saturating_add(entry.source.shape.numel());
        bytes = bytes.saturating_add(entry.bytes_after);
    }
    let per_weight = match elements {
        0 => String::new(),
        n => format!("; {:.3} bits per converted weight, statistics included", 8.0 * bytes as f64 / n as f64),
    };
    format!(
        "{} tensors converted, {} kept; {} -> {} ({:.1} %){per_weight}",
        totals.converted,
        totals.kept,
        table::bytes(totals.bytes_before),
        table::bytes(totals.bytes_after),
        100.0 * totals.bytes_after as f64 / (totals.bytes_before as f64).max(1.0),
    )
}

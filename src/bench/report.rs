//! The result as a table and as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::figure::Figure;
use super::{Roofline, machine};
use crate::context::Context;

/// Everything that was measured, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the caller says of the run, such as the commit.
    pub label: String,
    /// This library's version.
    pub version: &'static str,
    /// The processor.
    pub cpu: String,
    /// Bytes of its last-level cache.
    pub cache_bytes: Option<usize>,
    /// Threads.
    pub threads: usize,
    /// The newest arm that was measured.
    pub isa: &'static str,
    /// Bytes that weights and inputs rotate through, and outputs as well.
    pub rotation_bytes: usize,
    /// What the machine allows.
    pub roofline: Roofline,
    /// What was reached.
    pub figures: Vec<Figure>,
}

impl Report {
    pub(super) fn new(context: &Context, rotation_bytes: usize, roofline: Roofline) -> Self {
        Report {
            label: String::new(),
            version: env!("CARGO_PKG_VERSION"),
            cpu: machine::cpu_name(),
            cache_bytes: machine::cache_bytes(),
            threads: context.threads(),
            isa: context.host().isa().name(),
            rotation_bytes,
            roofline,
            figures: Vec::new(),
        }
    }

    /// The machine and its roofline, in lines.
    pub fn preamble(&self) -> String {
        let r = &self.roofline;
        let gb = |rate: f64| rate / 1e9;
        let bf16 = r.bf16_flops.map_or_else(String::new, |rate| format!(", bf16 {:.0}", gb(rate)));
        let cache = self.cache_bytes.map_or_else(|| "unknown".to_owned(), |b| format!("{} MB", b >> 20));
        format!(
            "fourbit {} on {}: {} threads, {}\n\
             last-level cache {cache}; operands rotate through {:.2} GB in and {:.2} GB out\n\
             GB/s: read {:.1}; write {:.1}, past the caches {:.1}; copy (in + out) {:.1}, past the caches {:.1}\n\
             GFLOP/s: f32 {:.0}{bf16}; used by others meanwhile: {}",
            self.version,
            self.cpu,
            self.threads,
            self.isa,
            self.rotation_bytes as f64 / 1e9,
            self.rotation_bytes as f64 / 1e9,
            gb(r.read),
            gb(r.write),
            gb(r.write_streamed),
            gb(r.copy),
            gb(r.copy_streamed),
            gb(r.f32_flops),
            percent(r.busy),
        )
    }
}

/// The names of [`row`]'s cells.
pub const HEADER: [&str; 12] = [
    "operation",
    "variant",
    "shape",
    "M",
    "dtype",
    "arm",
    "ms",
    "GB/s",
    "GFLOP/s",
    "bound",
    "of it",
    "others",
];

/// A figure as cells of a table.
pub fn row(figure: &Figure) -> [String; 12] {
    let or_empty = |value: Option<f64>, digits| value.map_or_else(String::new, |v| format!("{v:.digits$}"));
    [
        figure.operation.name().to_owned(),
        figure.variant.clone(),
        if figure.n == 0 { String::new() } else { format!("{}x{}", figure.n, figure.k) },
        figure.m.map_or_else(String::new, |m| m.to_string()),
        figure.dtype.to_owned(),
        figure.isa.to_owned(),
        format!("{:.4}", figure.ms),
        or_empty(figure.gb_per_s, 1),
        or_empty(figure.gflop_per_s, 0),
        figure.bound.unwrap_or_default().to_owned(),
        percent(figure.fraction),
        percent(figure.busy),
    ]
}

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    report.preamble().lines().for_each(|line| {
        let _ = writeln!(text, "* {line}");
    });
    if !report.label.is_empty() {
        let _ = writeln!(text, "* {}", report.label);
    }
    let _ = writeln!(text, "\n| {} |\n|{}", HEADER.join(" | "), " --- |".repeat(HEADER.len()));
    for figure in &report.figures {
        let _ = writeln!(text, "| {} |", row(figure).join(" | "));
    }
    text
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(String::new, |s| format!("{:.0}%", s * 100.0))
}

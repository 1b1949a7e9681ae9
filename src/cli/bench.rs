//! `fourbit bench`: how fast this machine is, and how much of it each operation uses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use fourbit::backend::cpu::Isa;
use fourbit::bench::{self, Effort, HEADER, Operation, Report, Scope, Selection};
use fourbit::{Error, Result};

use super::{Answer, print};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Only the essentials, in a few seconds.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Every option and every arm; waits for the machine to be quiet. Takes many minutes.
    #[arg(long)]
    pub full: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print a Markdown table.
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Write PREFIX.md and PREFIX.json.
    #[arg(long, value_name = "PREFIX")]
    pub save: Option<PathBuf>,
    /// Text for the result, such as the commit.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub label: String,
    /// Seconds to wait, before each figure, until other programs leave the machine alone.
    #[arg(long, value_name = "SECONDS")]
    pub patience: Option<u64>,
    /// Threads to use [default: one per processor].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// Use no newer instruction set than this: portable, avx2, avx512, avx512bf16, amx or neon.
    #[arg(long, value_name = "NAME", value_parser = isa)]
    pub isa: Option<Isa>,
    /// A weight's shape, output by input features; may be given several times.
    #[arg(long, value_name = "NxK", value_parser = shape)]
    pub shape: Vec<(u64, u64)>,
    /// Only this: quantize, dequantize, gemm, transpose, grouped or overhead; may be given several
    /// times.
    #[arg(long, value_name = "OPERATION")]
    pub only: Vec<Operation>,
}

impl BenchArgs {
    fn selection(&self) -> Selection {
        let ms = Duration::from_millis;
        let (scope, mut effort) = match (self.quick, self.full) {
            (true, _) => {
                (Scope::Quick, Effort { budget: ms(100), attempts: 1, patience: ms(0), longest: ms(300) })
            }
            (_, true) => {
                (Scope::Full, Effort { budget: ms(300), attempts: 3, patience: ms(5000), longest: ms(2000) })
            }
            _ => (Scope::Standard, Effort { budget: ms(50), attempts: 1, patience: ms(0), longest: ms(500) }),
        };
        if let Some(seconds) = self.patience {
            effort.patience = Duration::from_secs(seconds);
        }
        Selection {
            scope,
            shapes: self.shape.clone(),
            only: self.only.clone(),
            threads: self.threads,
            isa: self.isa,
            effort,
        }
    }
}

pub(crate) fn run(args: &BenchArgs) -> Result<Answer> {
    let live = !args.json && !args.markdown;
    let header = |report: &Report| {
        if live {
            print(&report.preamble());
            print(&line(&HEADER.map(str::to_owned)));
        }
    };
    let figure = |figure: &bench::Figure| {
        if live {
            print(&line(&bench::row(figure)));
        }
    };
    let mut report = bench::run(&args.selection(), &mut { header }, &mut { figure })?;
    report.label = args.label.clone();
    let json = serde_json::to_string_pretty(&report).unwrap_or_default();
    if args.json {
        print(&json);
    } else if args.markdown {
        print(&bench::markdown(&report));
    }
    if let Some(prefix) = &args.save {
        write(prefix, ".md", &bench::markdown(&report))?;
        write(prefix, ".json", &json)?;
    }
    Ok(Answer::Yes)
}

fn write(prefix: &Path, extension: &str, text: &str) -> Result<()> {
    let mut path = prefix.as_os_str().to_owned();
    path.push(extension);
    let path = PathBuf::from(path);
    std::fs::write(&path, format!("{}\n", text.trim_end())).map_err(|e| Error::io(&path, "cannot write", e))
}

/// Cells in columns: figures come one by one, so the widths are known beforehand.
fn line(cells: &[String; 12]) -> String {
    let [operation, variant, shape, m, dtype, arm, ms, gb, gflop, bound, fraction, others] = cells;
    let line = format!(
        "{operation:10} {variant:20} {shape:>10} {m:>5} {dtype:8} {arm:10} {ms:>9} {gb:>6} {gflop:>7} {bound:10} {fraction:>5} {others:>6}"
    );
    line.trim_end().to_owned()
}

fn shape(value: &str) -> std::result::Result<(u64, u64), String> {
    let numbers = value.split_once('x').and_then(|(n, k)| Some((n.parse().ok()?, k.parse().ok()?)));
    match numbers {
        Some((n, k)) if (1..=1 << 20).contains(&n) && (1..=1 << 20).contains(&k) => Ok((n, k)),
        _ => Err(format!("\"{value}\": expected output x input features, such as 4096x4096")),
    }
}

fn isa(value: &str) -> std::result::Result<Isa, String> {
    Isa::parse(value).map_err(|e| e.to_string())
}

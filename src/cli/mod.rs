//! The command line: arguments, progress, tables. No logic that the library lacks.

mod args;
mod bench;
mod dequantize;
pub(crate) mod device_map;
mod inspect;
mod interrupt;
mod merge;
pub(crate) mod names;
pub(crate) mod plan;
mod progress;
mod quantize;
mod report;
pub(crate) mod table;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

/// What a command found.
pub(crate) enum Answer {
    /// Done, or "yes".
    Yes,
    /// The question was answered with "no" (a difference was found).
    No,
}

/// Runs the command. Exit codes: 0 done or yes, 1 the answer is no, 2 bad usage or input, 128 + n
/// stopped by signal n (130: Ctrl-C, 143: terminated) after cleaning up.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let answer = match &arguments.command {
        Command::Quantize(a) => quantize::run(a),
        Command::Merge(a) => merge::run(a),
        Command::Plan(a) => plan::run(a),
        Command::Inspect(a) => inspect::run(a),
        Command::Verify(a) => verify::run(a),
        Command::Report(a) => report::run(a),
        Command::Dequantize(a) => dequantize::run(a),
        Command::Bench(a) => bench::run(a),
    };
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => {
            eprintln!("fourbit: {error}");
            match (error, interrupt::signal()) {
                (fourbit::Error::Cancelled(_), Some(signal)) => ExitCode::from(128 + signal),
                _ => ExitCode::from(2),
            }
        }
    }
}

/// Prints to standard output; a reader that went away (a closed pipe) ends the program quietly.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

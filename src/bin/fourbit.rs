//! The `fourbit` command: quantize, plan, inspect, verify, report on and dequantize checkpoints; measure.

#[path = "../cli/mod.rs"]
mod cli;

#[path = "../report/mod.rs"]
mod report;

fn main() -> std::process::ExitCode {
    cli::main()
}

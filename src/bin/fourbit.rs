//! The `fourbit` command: quantize, plan, inspect, verify and dequantize checkpoints; measure.

#[path = "../cli/mod.rs"]
mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}

//! `FOURBIT_CPU_ISA_MAX`, which a process reads once: every value is tried in a process of its own.

use std::process::Command;

use fourbit::backend::cpu::{CpuBackend, CpuConfig, Isa};

/// Runs `child` with the variable set; what it printed.
fn with_cap(value: &str) -> String {
    // Under an emulator, cargo's runner for the target is how to start a process.
    let runner = std::env::var("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER").unwrap_or_default();
    let emulated = cfg!(target_arch = "aarch64");
    let mut words = runner.split_whitespace().filter(|_| emulated).map(String::from).collect::<Vec<_>>();
    words.push(std::env::current_exe().unwrap().to_str().unwrap().to_owned());
    let output = Command::new(&words[0])
        .args(&words[1..])
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("FOURBIT_CPU_ISA_MAX", value)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "run by the others"]
fn child() {
    for isa_max in [None, Some(Isa::Portable)] {
        match CpuBackend::new(CpuConfig { threads: 1, isa_max, parallel_for: None }) {
            Ok(backend) => println!("<{}>", backend.isa()),
            Err(e) => println!("<error: {e}>"),
        }
    }
}

#[test]
fn the_variable_caps_the_arm_and_the_config_caps_it_further() {
    for isa in Isa::ALL.iter().filter(|isa| isa.is_supported()) {
        let said = with_cap(isa.name());
        assert!(said.contains(&format!("<{isa}>")) && said.contains("<portable>"), "{isa}: {said}");
    }
    assert!(with_cap("").contains(&format!("<{}>", Isa::detect())));
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
    let said = with_cap("sse9");
    for word in ["FOURBIT_CPU_ISA_MAX", "\"sse9\"", "portable"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(Isa::ALL.iter().all(|isa| said.contains(isa.name())), "{said}");
}

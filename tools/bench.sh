#!/usr/bin/env bash
# Measures the kernels.   tools/bench.sh [ARGUMENT...]   (what benches/cpu.rs takes)
source "$(dirname "$0")/common.sh"
cargo bench --locked "$@"

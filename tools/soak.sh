#!/usr/bin/env bash
# The long forms of the tests of trust: hours rather than seconds. Figures: docs/reliability.md.
#   tools/soak.sh [--minutes N] [STEP...]      steps: see below; none: all. N minutes (10) for each that
#                                              runs for a time, each fuzz target counting as one.
# FOURBIT_SEED chooses other cases; FOURBIT_LARGE_DIR names a disk with room for 20 GB (see soak_crash.sh).
source "$(dirname "$0")/common.sh"

STEPS="differential stress memory crash sanitizers miri fuzz"
minutes=10
if [ "${1:-}" = --minutes ]; then
    minutes=$2
    shift 2
fi
seconds=$((minutes * 60))
export FOURBIT_SEED=${FOURBIT_SEED:-$(date +%s)}
HOST=$(rustc -vV | sed -n 's/^host: //p')

one_test() { cargo test --release --locked --test "$1" -- --nocapture; }

step_differential() { FOURBIT_SOAK_SECONDS=$seconds one_test differential; }

step_stress() { FOURBIT_STRESS_THREADS=64 FOURBIT_SOAK_SECONDS=$seconds one_test stress; }

step_memory() { FOURBIT_SOAK_CALLS=1000000 one_test memory_flat; }

step_crash() { tools/soak_crash.sh "$FOURBIT_SEED"; }

need_nightly() {
    cargo +nightly --version >/dev/null 2>&1 || fail "no nightly toolchain: rustup toolchain install nightly"
    rustup +nightly component list --installed | grep -q "^$1" ||
        fail "the nightly toolchain lacks $1: rustup +nightly component add $1"
}

# sanitized KIND TEST...: the tests, with the standard library built the same way.
sanitized() {
    local kind=$1
    shift
    # shellcheck disable=SC2046
    CARGO_TARGET_DIR=$BUILD/sanitize-$kind RUSTFLAGS="-Zsanitizer=$kind" \
        cargo +nightly test -Zbuild-std --target "$HOST" $(printf -- '--test %s ' "$@") -- --nocapture
}

step_sanitizers() {
    need_nightly rust-src
    # Data races in the pool and between calls.
    sanitized thread cpu_runner stress
    # Memory errors and leaks.
    sanitized address cpu_gemm kernel_arms stress hostile_weights fuzz_replay
}

# What runs without foreign code: Miri interprets neither assembly nor most vector instructions.
step_miri() {
    need_nightly miri
    MIRIFLAGS="-Zmiri-disable-isolation" FOURBIT_CPU_ISA_MAX=portable CARGO_TARGET_DIR=$BUILD/miri \
        cargo +nightly miri test --lib -- backend:: config:: ffi:: plan:: quant:: weight:: memory:: shape:: tensor:: checkpoint::index \
        --skip isa --skip pool --skip table
}

step_fuzz() { tools/fuzz.sh --seconds "$seconds"; }

[ $# -gt 0 ] || read -ra all <<<"$STEPS"
for step in "${@:-${all[@]}}"; do
    [[ " $STEPS " == *" $step "* ]] || fail "no step $step: expected one of $STEPS"
    say "$step (seed $FOURBIT_SEED)"
    "step_$step"
done

#!/usr/bin/env bash
# Feeds mutated inputs to the library under libFuzzer and AddressSanitizer.
#   tools/fuzz.sh [--seconds N] [--keep] [TARGET...]
# Targets: those of tests/fuzz (none given: all), N seconds each (60). What a run finds new stays in
# build/fuzz/corpus; --keep reduces it to what adds coverage, in files of at most 1 kB, and stores that in
# tests/fuzz/corpus, which `make test` replays. A crash ends the run, and its input is named.
# Needs a nightly toolchain and cargo-fuzz.
source "$(dirname "$0")/common.sh"

SECONDS_EACH=60
keep=
targets=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) SECONDS_EACH=$2 && shift 2 ;;
    --keep) keep=1 && shift ;;
    -*) fail "unknown option $1: expected --seconds or --keep" ;;
    *) targets+=("$1") && shift ;;
    esac
done
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(sed -nE 's/^name = "([a-z_]+)"$/\1/p' tests/fuzz/Cargo.toml)
fi

have cargo-fuzz || fail "cargo-fuzz is not installed: cargo install cargo-fuzz"
cargo +nightly --version >/dev/null 2>&1 ||
    fail "no nightly toolchain, which the sanitizers need: rustup toolchain install nightly"

FUZZ=$BUILD/fuzz
export CARGO_TARGET_DIR=$FUZZ/target
cargo +nightly fuzz build --fuzz-dir tests/fuzz
bin=$(dirname "$(find "$CARGO_TARGET_DIR" -path '*/release/header' -type f | head -n 1)")

mkdir -p "$FUZZ/artifacts"
for target in "${targets[@]}"; do
    own=tests/fuzz/corpus/$target
    [ -d "$own" ] || fail "no target $target: expected one of $(ls tests/fuzz/corpus | tr '\n' ' ')"
    found=$FUZZ/corpus/$target
    mkdir -p "$found"
    say "$target, $SECONDS_EACH s"
    "$bin/$target" "$found" "$own" -max_total_time="$SECONDS_EACH" -max_len=4096 -rss_limit_mb=3000 \
        -timeout=60 -artifact_prefix="$FUZZ/artifacts/$target-" -print_final_stats=1 -verbosity=0 ||
        fail "$target: see $FUZZ/artifacts/$target-*"
    if [ -n "$keep" ]; then
        small=$FUZZ/small/$target
        rm -rf "$small" && mkdir -p "$small"
        "$bin/$target" -merge=1 -max_len=1024 -verbosity=0 "$small" "$own" "$found"
        # Named seeds stay: they say what they are for.
        find "$own" -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
        find "$small" -type f | sort | head -n 80 | while read -r file; do cp -n "$file" "$own/"; done
    fi
done
echo "no target failed"

#!/usr/bin/env bash
# Measures every operation, element type, shape and arm; leaves a table and JSON in benches/results.
#   tools/bench.sh [fourbit bench's OPTION...]
source "$(dirname "$0")/common.sh"

cargo build --quiet --release --features cli
name=$(result_name)
mkdir -p benches/results
command="fourbit bench --full $*"
label="commit $(commit_name); $(uname -sm); \`$command\`"
"$CARGO_TARGET_DIR/release/fourbit" bench --full --label "$label" --save "benches/results/$name" "$@"
say "benches/results/$name.md and .json"

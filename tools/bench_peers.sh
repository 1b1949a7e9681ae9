#!/usr/bin/env bash
# Times this library and others on the same weights, in turns; leaves a table and JSON in
# benches/results.   tools/bench_peers.sh [bench_peers.py's OPTION...]
source "$(dirname "$0")/common.sh"

cargo build --quiet --profile dist --lib
name=$(result_name)-peers
label="commit $(commit_name); $(uname -sm); \`tools/bench_peers.py $*\`"
python3 tools/bench_peers.py --library "$CARGO_TARGET_DIR/dist/libfourbit.so" --label "$label" \
    --out "benches/results/$name" "$@"

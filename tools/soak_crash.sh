#!/usr/bin/env bash
# The long form of tests/job_crash.rs and tests/job_large.rs: `fourbit quantize` killed at 200 random
# moments, 20 GB quantized within 2 GB, a tensor of more than 2^31 elements.
#   tools/soak_crash.sh [SEED]      another seed: other moments (default 5)
# FOURBIT_LARGE_DIR names a directory on a disk with 20 GB of room; without it only the killing is done.
source "$(dirname "$0")/common.sh"

export FOURBIT_SEED=${1:-5}
soak() {
    cargo test --locked --features cli --test "$1" -- --ignored --nocapture --test-threads 1
}

soak job_crash
if [ -n "${FOURBIT_LARGE_DIR:-}" ]; then
    soak job_large
else
    echo "skip - large checkpoints: FOURBIT_LARGE_DIR is not set"
fi

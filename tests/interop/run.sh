#!/usr/bin/env bash
# Against the real bitsandbytes, in a Python environment of its own (opt-in: downloads about 3 GB).
#   tests/interop/run.sh [CASES] [SEED]        PYTHON=… uses an environment that is there already.
source "$(dirname "$0")/../../tools/common.sh"

python=${PYTHON:-.venv/interop/bin/python}
if [ ! -x "$python" ]; then
    python3 -m venv .venv/interop
    .venv/interop/bin/pip install --quiet -r tests/interop/requirements.txt
fi
tools/build.sh
"$python" tests/interop/differential.py "$BUILD/stage/libfourbit.so" "${1:-2000}" "${2:-1}"

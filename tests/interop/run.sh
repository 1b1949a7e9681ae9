#!/usr/bin/env bash
# Against the real bitsandbytes and transformers, in Python environments of their own (opt-in: downloads
# about 3 GB).   tests/interop/run.sh [CASES] [SEED]   (after `cmake --build`)
#
#   FOURBIT_INTEROP_VENV=DIR       an environment that has requirements.txt
#   FOURBIT_INTEROP_VENV_457=DIR   one that has transformers 4.57 instead
source "$(dirname "$0")/../tap.sh"

HERE=tests/interop
NEW=${FOURBIT_INTEROP_VENV:-.venv/interop}
OLD=${FOURBIT_INTEROP_VENV_457:-.venv/interop-4.57}
LIBRARY=$BUILD/stage/lib/libfourbit.so
FOURBIT=$BUILD/stage/bin/fourbit
WORK=$BUILD/interop
CASES=${1:-500}
SEED=${2:-1}

# make_environment DIR REQUIREMENTS
make_environment() {
    tools/setup.sh python
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
}

# The second one takes torch and bitsandbytes from the first: its own packages come before them.
environments() {
    [ -x "$NEW/bin/python" ] || make_environment "$NEW" $HERE/requirements.txt || return 1
    [ -x "$OLD/bin/python" ] && return
    make_environment "$OLD" $HERE/requirements-4.57.txt &&
        "$NEW/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
            >"$("$OLD/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
}

versions() {
    same "transformers, bitsandbytes" "$2" \
        "$("$1/bin/python" -c 'import transformers as t, bitsandbytes as b; print(t.__version__, b.__version__)' 2>/dev/null)"
}

# Each model as NF4 with double quantization, and as FP4 without.
quantize_all() {
    local model name
    rm -rf "$WORK"
    mkdir -p "$WORK/models" "$WORK/quantized"
    "$NEW/bin/python" $HERE/models.py "$WORK/models" || return 1
    for model in "$WORK"/models/*; do
        name=$(basename "$model")
        "$FOURBIT" quantize "$model" "$WORK/quantized/$name" &&
            "$FOURBIT" quantize "$model" "$WORK/quantized/$name@fp4" --quant-type fp4 --no-double-quant || return 1
    done
}

# The comparison must notice one changed byte of codes.
damage_is_noticed() {
    local file=$WORK/damaged/llama/model.safetensors
    mkdir -p "$WORK/damaged"
    cp -r "$WORK/quantized/llama" "$WORK/damaged/"
    "$NEW/bin/python" - "$file" <<'END'
import json, struct, sys
with open(sys.argv[1], "r+b") as file:
    length = struct.unpack("<Q", file.read(8))[0]
    header = json.loads(file.read(length))
    at = 8 + length + header["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0]
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ 0x10]))
END
    refused "other codes" "$NEW/bin/python" $HERE/load.py "$WORK/models" "$WORK/damaged/llama"
}

# python ENVIRONMENT ARGUMENT...: a script that prints checks of its own.
python() {
    "$1/bin/python" "${@:2}" || CHECKS_FAILED=$((CHECKS_FAILED + 1))
}

check "Python environments" environments
[ "$CHECKS_FAILED" = 0 ] || finish
check "versions that this is about" versions "$NEW" "5.23.0 0.50.2"
check "versions that this is about, older ones" versions "$OLD" "4.57.6 0.50.2"
check "fourbit quantizes models that transformers saved" quantize_all
python "$NEW" $HERE/load.py "$WORK/models" "$WORK"/quantized/*
python "$OLD" $HERE/load.py "$WORK/models" "$WORK"/quantized/*
check "a changed byte is noticed" damage_is_noticed
python "$NEW" $HERE/exchange.py "$LIBRARY"
python "$NEW" $HERE/differential.py "$LIBRARY" "$CASES" "$SEED"
finish

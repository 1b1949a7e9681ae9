#!/usr/bin/env bash
# Writes the C header from src/ffi.   tools/header.sh [OUTPUT]   (default include/fourbit/fourbit.h)
#
# cbindgen sees only the files of src/ffi, joined: what the rest of the crate calls its types and
# constants cannot leak into the header.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-include/fourbit/fourbit.h}
cbindgen=${CBINDGEN:-cbindgen}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The order in which a reader wants to meet things.
order="version status log tensor device context quantizer weight compute weight_parts dlpack checkpoint plan convert writer model"
for name in $order; do
    [ -f "src/ffi/$name.rs" ] && grep -vE '^(//!|#!\[)' "src/ffi/$name.rs" >>"$work/ffi.rs"
done
"$cbindgen" --quiet --config cbindgen.toml --output "$work/fourbit.h" "$work/ffi.rs"
mkdir -p "$(dirname "$output")"
sed -i "s/^ \* # Safety$/ * @pre/" "$work/fourbit.h"
mv "$work/fourbit.h" "$output"

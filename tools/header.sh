#!/usr/bin/env bash
# Writes the C header from src/ffi.   tools/header.sh [--check | OUTPUT]
#
# Without an argument: include/fourbit/fourbit.h, and new functions into tests/abi/symbols.txt.
# --check compares both with what src/ffi says, and changes nothing.
#
# cbindgen sees only the files of src/ffi, joined: what the rest of the crate calls its types and
# constants cannot leak into the header.
source "$(dirname "$0")/common.sh"
HEADER=include/fourbit/fourbit.h
SYMBOLS=tests/abi/symbols.txt
# The order in which a reader wants to meet things.
ORDER="version status log tensor device context quantizer weight compute weight_parts dlpack checkpoint plan convert writer model"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

generate() {
    local name
    for name in $ORDER; do
        [ -f "src/ffi/$name.rs" ] && grep -vE '^(//!|#!\[)' "src/ffi/$name.rs" >>"$work/ffi.rs"
    done
    "$(tools/cbindgen.sh)" --quiet --config cbindgen.toml --output "$work/fourbit.h" "$work/ffi.rs"
    sed -i "s/^ \* # Safety$/ * @pre/" "$work/fourbit.h"
}

# symbols HEADER: the functions it declares, one a line.
symbols() { grep -vE '^ *(\*|/\*)' "$1" | grep -oE '\bfourbit_[a-z0-9_]+\(' | tr -d '(' | LC_ALL=C sort -u; }

generate
# New functions join the list by themselves. None ever leaves it so: that breaks programs (tests/abi/run.sh).
symbols "$work/fourbit.h" | LC_ALL=C sort -u - "$SYMBOLS" >"$work/symbols.txt"
case "${1:-}" in
--check)
    diff -u "$HEADER" "$work/fourbit.h" || fail "$HEADER is not what src/ffi says: run \`make header\`"
    diff -u "$SYMBOLS" "$work/symbols.txt" || fail "$SYMBOLS lacks functions of the header: run \`make header\`"
    ;;
"")
    mv "$work/fourbit.h" "$HEADER"
    mv "$work/symbols.txt" "$SYMBOLS"
    ;;
*)
    mkdir -p "$(dirname "$1")"
    mv "$work/fourbit.h" "$1"
    ;;
esac

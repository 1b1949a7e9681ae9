#!/usr/bin/env bash
# Makes the API reference: build/reference/rust (rustdoc), build/reference/c (doxygen: C and C++). A public entity
# without documentation, or a link in it that leads nowhere, is an error.   tools/docs.sh
source "$(dirname "$0")/common.sh"

tools/setup.sh docs
OUT=$BUILD/reference
mkdir -p "$OUT"

RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --no-deps --lib
rm -rf "$OUT/rust"
cp -r "$CARGO_TARGET_DIR/doc" "$OUT/rust"
echo "Rust: $OUT/rust/fourbit/index.html"

if ! have doxygen; then
    echo "skip - C and C++ reference: doxygen is not installed"
    exit 0
fi
# The generated header documents lists of constants before their first member: doxygen reads it as it is.
rm -rf "$OUT/c"
{
    cat tools/doxygen.conf
    echo "PROJECT_NUMBER = $(value_of version Cargo.toml)"
    echo "OUTPUT_DIRECTORY = $OUT"
} | doxygen - >"$OUT/doxygen.log" 2>&1 || {
    grep -E 'warning|error' "$OUT/doxygen.log" >&2
    fail "doxygen found faults"
}
echo "C and C++: $OUT/c/index.html"

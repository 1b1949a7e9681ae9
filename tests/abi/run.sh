#!/usr/bin/env bash
# What programs rely on without seeing the source: symbols, SONAME, dependencies, size, versions.
#   tests/abi/run.sh   (after `cmake --build`)
source "$(dirname "$0")/../tap.sh"

HEADER=include/fourbit/fourbit.h
SYMBOLS=tests/abi/symbols.txt
VERSION=$(value_of version Cargo.toml)
ABI=$(sed -nE 's/^#define FOURBIT_ABI_VERSION ([0-9]+)$/\1/p' $HEADER)
SHARED=$BUILD/stage/lib/libfourbit.so.$VERSION
MAX_SHARED_BYTES=3000000

exported() { nm -D --defined-only --format=just-symbols "$SHARED" | LC_ALL=C sort; }

symbols_are_held() {
    diff -u $SYMBOLS <(exported) && return
    echo "A function that disappears breaks programs: raise FOURBIT_ABI_VERSION, then take it out of $SYMBOLS."
    return 1
}

soname() { readelf -d "$SHARED" | sed -nE 's/.*\(SONAME\).*\[(.*)\]/\1/p'; }

# Engines run everywhere: no dependency beyond the C library, its dynamic linker and the unwinder.
only_system_libraries() {
    local extra
    extra=$(readelf -d "$SHARED" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' |
        grep -vE '^(libc\.so\.|libm\.so\.|libgcc_s\.so\.|ld-linux.*\.so\.)' || true)
    same "unexpected dependencies" "" "$extra"
}

small_enough() {
    local size
    size=$(stat -c %s "$SHARED")
    [ "$size" -lt $MAX_SHARED_BYTES ] && return
    echo "$SHARED has $size bytes; the limit is $MAX_SHARED_BYTES"
    return 1
}

# clap and friends belong to the command.
no_command_line_code() { ! grep -qaE 'clap_builder|indicatif|comfy.table' "$SHARED"; }

# Where this build tree has cargo build.
cargo_directory() { sed -n 's/^FOURBIT_CARGO_TARGET_DIR:PATH=//p' "$BUILD/CMakeCache.txt"; }

native_libraries() {
    local promised
    promised=$(sed -nE 's/^set\(FOURBIT_NATIVE_LIBS (.*)\)$/\1/p' cmake/cargo.cmake | sed -E 's/(^| )([a-z])/\1-l\2/g')
    same "libraries beside libfourbit.a" "$(cat "$(cargo_directory)/native-static-libs.txt")" "$promised"
}

header_version() {
    local part numbers=()
    for part in MAJOR MINOR PATCH; do
        numbers+=("$(sed -nE "s/^#define FOURBIT_VERSION_$part ([0-9]+)$/\1/p" $HEADER)")
    done
    local IFS=.
    same "FOURBIT_VERSION_* of $HEADER (set in cbindgen.toml) against Cargo.toml" "$VERSION" "${numbers[*]}"
}

changelog_version() {
    same "newest release in CHANGELOG.md against Cargo.toml" "$VERSION" \
        "$(sed -nE 's/^## \[([0-9.]+)\].*/\1/p' CHANGELOG.md | head -n 1)"
}

command_version() { same "fourbit --version" "fourbit $VERSION" "$("$BUILD/stage/bin/fourbit" --version)"; }

check "exported symbols equal $SYMBOLS" symbols_are_held
check "SONAME carries the ABI number" same SONAME "libfourbit.so.$ABI" "$(soname)"
check "only system libraries are needed" only_system_libraries
check "the stripped library is under $((MAX_SHARED_BYTES / 1000000)) MB" small_enough
check "the library has no command-line code" no_command_line_code
check "native-static-libs is what CMake and pkg-config say" native_libraries
check "header and Cargo.toml agree on the version" header_version
check "CHANGELOG and Cargo.toml agree on the version" changelog_version
check "the command and Cargo.toml agree on the version" command_version
finish

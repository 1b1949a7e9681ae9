#!/usr/bin/env bash
# What programs rely on without seeing the source: symbols, types, SONAME, dependencies, size, versions.
#   tests/abi/run.sh   (after `cmake --build`)
source "$(dirname "$0")/../tap.sh"

HEADER=include/fourbit/fourbit.h
SYMBOLS=tests/abi/symbols.txt
VERSION=$(value_of version Cargo.toml)
ABI=$(sed -nE 's/^#define FOURBIT_ABI_VERSION ([0-9]+)$/\1/p' $HEADER)
SHARED=$BUILD/stage/lib/libfourbit.so.$VERSION
STATIC=$BUILD/stage/lib/libfourbit.a
COMMAND=$BUILD/stage/bin/fourbit
MAX_SHARED_BYTES=3000000
# The header of an earlier version with this ABI number, and a program written for it.
PREVIOUS=tests/abi/previous
WORK=$BUILD/abi
mkdir -p "$WORK"

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

# No user's directories in what is shipped: neither the checkout's nor cargo's.
no_path_of_this_machine() {
    local file found
    for file in "$SHARED" "$STATIC" "$COMMAND"; do
        found=$(grep -aoE '[[:print:]]*(\.cargo/|'"$ROOT"'|'"$HOME"'/)[[:print:]]*' "$file" | head -n 3)
        same "paths in $file" "" "$found" || return 1
    done
}

# stub_library HEADER OUTPUT: the header's functions and types as a library with debugging information.
stub_library() {
    cc -E -P "$1" | awk -f tests/abi/stub.awk >"$2.c" && cc -std=c11 -g -shared -fPIC -w "$2.c" -o "$2"
}

# Structs that start with struct_size may grow at their end; abidiff leaves them to fields_are_held.
growing_structs() {
    local names
    names=$(awk '/^typedef struct [a-z_]+ \{/ { name = $3; fields = 0 }
        /^    [a-z].*;/ && ++fields == 1 && /struct_size;/ { print name }' $PREVIOUS/fourbit.h | paste -sd '|')
    printf '[suppress_type]\ntype_kind = struct\nname_regexp = ^(%s)$\n' "$names"
}

# same_functions HEADER: those of $PREVIOUS/fourbit.h are there, with the same types.
same_functions() {
    stub_library $PREVIOUS/fourbit.h "$WORK/previous.so" && stub_library "$1" "$WORK/present.so" || return 1
    growing_structs >"$WORK/growing.ini"
    abidiff --no-added-syms --suppressions "$WORK/growing.ini" "$WORK/previous.so" "$WORK/present.so"
}

functions_are_held() {
    same_functions $HEADER && same "functions that were compared" "$(wc -l <$SYMBOLS)" \
        "$(grep -c '{ __builtin_trap(); }' "$WORK/present.so.c")"
}

# layout HEADER: every field with offset and size, every struct that may not grow with its size.
layout() {
    mkdir -p "$WORK/layout"
    cp "$1" "$WORK/layout/fourbit.h"
    awk -f tests/abi/layout.awk "$1" >"$WORK/layout/layout.c" &&
        cc -std=c11 -I"$WORK/layout" "$WORK/layout/layout.c" -o "$WORK/layout/layout" && "$WORK/layout/layout" | LC_ALL=C sort
}

# same_fields HEADER: what $PREVIOUS/fourbit.h has lies where it lay.
same_fields() {
    layout $PREVIOUS/fourbit.h >"$WORK/previous.txt" && layout "$1" >"$WORK/present.txt" || return 1
    [ "$(wc -l <"$WORK/previous.txt")" -gt 80 ] || return 1
    same "fields of $PREVIOUS/fourbit.h that moved" "" "$(comm -23 "$WORK/previous.txt" "$WORK/present.txt")"
}

# changed CHECK SED-SCRIPT: does the header pass CHECK after this change?
changed() {
    sed -E "$2" $PREVIOUS/fourbit.h >"$WORK/changed.h"
    cmp -s $PREVIOUS/fourbit.h "$WORK/changed.h" || "$1" "$WORK/changed.h"
}

growth_is_accepted() {
    changed same_fields 's/^\} fourbit_gemm_config;/    uint64_t later;\n&/' &&
        changed same_functions 's/^\} fourbit_gemm_config;/    uint64_t later;\n&/'
}

breakage_is_noticed() {
    refused "fourbit_device 8" changed same_fields 's/^\} fourbit_device;/    uint64_t later;\n&/' &&
        refused "fourbit_gemm_config.flags" changed same_fields \
            '/^typedef struct fourbit_gemm_config/,/^\}/s/uint32_t flags/uint64_t flags/' &&
        { ! have abidiff || refused "fourbit_context_query" changed same_functions \
            '/^fourbit_status fourbit_context_query\(/,/;/s/uint32_t \*out_threads/uint64_t *out_threads/'; }
}

# constants HEADER: enumerators and constants with their numbers, one a line.
constants() {
    sed -nE 's/^ *(#define )?(FOURBIT_[A-Z0-9_]+)( =)? (-?[0-9]+),?$/\2 \4/p' "$1" | grep -v '^FOURBIT_VERSION_' | LC_ALL=C sort
}

constants_are_held() {
    [ "$(constants $PREVIOUS/fourbit.h | wc -l)" -gt 50 ] || return 1
    same "constants of $PREVIOUS/fourbit.h that are gone or have another number" "" \
        "$(comm -23 <(constants $PREVIOUS/fourbit.h) <(constants $HEADER))"
}

previous_program() {
    cc -std=c99 -Wall -Wextra -Wpedantic -Werror $PREVIOUS/program.c -o "$WORK/previous" \
        -L"$BUILD/stage/lib" -lfourbit -lm -Wl,-rpath,"$BUILD/stage/lib" &&
        "$WORK/previous" tests/fixtures/tiny-llama "$WORK/previous-output"
}

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

package_versions() {
    same "fourbit.pc" "$VERSION" "$(sed -n 's/^Version: //p' "$BUILD/package/fourbit.pc")" &&
        same "fourbitConfigVersion.cmake" "$VERSION" \
            "$(sed -nE 's/^set\(PACKAGE_VERSION "(.*)"\)$/\1/p' "$BUILD/package/fourbitConfigVersion.cmake")"
}

# What the running library says; Go passes it on.
function_versions() {
    cat >"$WORK/version.c" <<'END'
#include <fourbit/fourbit.h>
#include <stdio.h>
int main(void) {
    unsigned v = fourbit_version();
    return printf("%u.%u.%u %u %s\n", v / 10000, v / 100 % 100, v % 100, fourbit_abi_version(), fourbit_build_info()) < 0;
}
END
    cc -Iinclude "$WORK/version.c" -o "$WORK/version" -L"$BUILD/stage/lib" -lfourbit -Wl,-rpath,"$BUILD/stage/lib" &&
        same "fourbit_version, fourbit_abi_version, fourbit_build_info" "$VERSION $ABI $VERSION" \
            "$("$WORK/version" | cut -d' ' -f1-3)"
}

command_version() { same "fourbit --version" "fourbit $VERSION" "$("$COMMAND" --version)"; }

check "exported symbols equal $SYMBOLS" symbols_are_held
if have abidiff; then
    check "the functions of $PREVIOUS/fourbit.h are there with the same types" functions_are_held
    check "a struct with struct_size may grow" growth_is_accepted
else
    skip "abidiff" "it is not installed (abigail-tools)"
fi
check "the fields of $PREVIOUS/fourbit.h are where they were" same_fields $HEADER
check "an incompatible header would be noticed" breakage_is_noticed
check "constants and enumerators keep their numbers" constants_are_held
check "a program built with $PREVIOUS/fourbit.h runs" previous_program
check "SONAME carries the ABI number" same SONAME "libfourbit.so.$ABI" "$(soname)"
check "only system libraries are needed" only_system_libraries
check "the stripped library is under $((MAX_SHARED_BYTES / 1000000)) MB" small_enough
check "shipped binaries name no path of this machine" no_path_of_this_machine
check "the library has no command-line code" no_command_line_code
check "native-static-libs is what CMake and pkg-config say" native_libraries
check "CMake, pkg-config and Cargo.toml agree on the version" package_versions
check "the running library and Cargo.toml agree on the version" function_versions
check "header and Cargo.toml agree on the version" header_version
check "CHANGELOG and Cargo.toml agree on the version" changelog_version
check "the command and Cargo.toml agree on the version" command_version
finish

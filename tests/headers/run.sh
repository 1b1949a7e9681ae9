#!/usr/bin/env bash
# Every public header compiles alone, in every language standard it promises, without a warning;
# a second inclusion changes nothing.
source "$(dirname "$0")/../tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
FLAGS=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Iinclude -Ibindings/cpp/include)

# compile COMPILER STANDARD LANGUAGE HEADER
compile() {
    printf '#include <%s>\n#include <%s>\n' "$4" "$4" >"$work/alone.$3"
    "$1" "-std=$2" "${FLAGS[@]}" -c "$work/alone.$3" -o "$work/alone.o"
}

# check_all COMPILER LANGUAGE HEADER STANDARD...
check_all() {
    local compiler=$1 language=$2 header=$3 standard
    shift 3
    for standard in "$@"; do
        check "$header, $standard, $compiler" compile "$compiler" "$standard" "$language" "$header"
    done
}

for pair in "cc c++" "clang clang++"; do
    read -r c cpp <<<"$pair"
    if ! have "$c" || ! have "$cpp"; then
        skip "headers under $c" "it is not installed"
        continue
    fi
    check_all "$c" c fourbit/fourbit.h c99 c11 c17
    check_all "$cpp" cpp fourbit/fourbit.h c++11 c++14 c++17 c++20
    while IFS= read -r header; do
        check_all "$cpp" cpp "$header" c++17 c++20
    done < <(cd bindings/cpp/include && find fourbit -name '*.hpp' | LC_ALL=C sort)
done

# Every C function is used by the C++ header.
cpp_covers_c() {
    local symbol missing=()
    while IFS= read -r symbol; do
        grep -rqw "$symbol" bindings/cpp/include || missing+=("$symbol")
    done <tests/abi/symbols.txt
    same "functions that fourbit.hpp does not reach" "" "${missing[*]}"
}

check "the C++ header reaches every C function" cpp_covers_c
finish

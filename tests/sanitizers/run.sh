#!/usr/bin/env bash
# The C and C++ tests under the address and undefined-behaviour sanitizers, built by clang with its warnings as
# errors.   tests/sanitizers/run.sh [NAME...]   (after `cmake --build`; NAME: tests/c/NAME.c, tests/cpp/NAME.cpp)
source "$(dirname "$0")/../tap.sh"

WORK=$BUILD/sanitizers
LIB=$BUILD/stage/lib
FLAGS=(-fsanitize=address,undefined -fno-sanitize-recover=all -g -O1 -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    -Wno-sign-conversion -Werror -Iinclude -Ibindings/cpp/include)
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
rm -rf "$WORK"
mkdir -p "$WORK"

if ! have clang || ! have clang++; then
    skip "sanitizers" "clang is not installed"
    finish
fi

# build_and_run SOURCE
build_and_run() {
    local name compile=(clang -std=c11)
    name=$(tr / - <<<"${1%.*}")
    [ "${1##*.}" = c ] || compile=(clang++ -std=c++17)
    "${compile[@]}" "${FLAGS[@]}" "$1" -o "$WORK/$name" -L"$LIB" -lfourbit -lm -lpthread -Wl,-rpath,"$LIB" || return 1
    # Without this a broken set-up would pass for a clean run.
    nm "$WORK/$name" | grep -q __asan_init || return 1
    mkdir -p "$WORK/$name.scratch" && (cd "$WORK/$name.scratch" && "$WORK/$name" "$ROOT")
}

notices_an_overflow() {
    printf '#include <fourbit/fourbit.h>\nint main(void) { char* volatile p = __builtin_malloc(7); p[7] = 1; return 0; }\n' \
        >"$WORK/faulty.c"
    refused "heap-buffer-overflow" build_and_run "$WORK/faulty.c"
}

wanted() {
    local name
    [ $# -gt 1 ] || return 0
    for name in "${@:2}"; do [ "$(basename "${1%.*}")" = "$name" ] && return; done
    return 1
}

check "the sanitizers are at work" notices_an_overflow
for source in tests/c/*.c tests/cpp/*.cpp; do
    wanted "$source" "$@" && check "sanitized: $source" build_and_run "$source"
done
finish

#!/usr/bin/env bash
# Form and style of every language here.   tools/lint.sh [format]
# `format` leaves the slow ones (clippy) out. What is not installed is named and skipped.
source "$(dirname "$0")/../tests/tap.sh"

# Other versions of clang-format break lines elsewhere.
CLANG_FORMAT_MAJOR=14

files() { git ls-files --cached --others --exclude-standard "$@"; }

# with TOOL NAME COMMAND...: the check, if the tool is there.
with() {
    local tool=$1
    shift
    if have "$tool"; then check "$@"; else skip "$1" "$tool is not installed"; fi
}

c_and_cpp() {
    local sources
    mapfile -t sources < <(files '*.c' '*.h' '*.cpp' '*.hpp' | grep -vE '^include/|^tests/abi/previous/fourbit.h')
    [ ${#sources[@]} = 0 ] || clang-format --dry-run -Werror "${sources[@]}"
}

go_sources() { same "files that gofmt would change" "" "$(gofmt -l bindings/go)"; }

shell_scripts() {
    local scripts
    mapfile -t scripts < <(files '*.sh' .ci/run)
    shellcheck --severity=warning --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
}

if cargo fmt --version >/dev/null 2>&1; then
    check "cargo fmt" cargo fmt --check
else
    skip "cargo fmt" "not installed (rustup component add rustfmt)"
fi
if have clang-format && [ "$(clang-format --version | version_in | cut -d. -f1)" != $CLANG_FORMAT_MAJOR ]; then
    skip "clang-format" "version $CLANG_FORMAT_MAJOR is wanted"
else
    with clang-format "clang-format" c_and_cpp
fi
[ ! -d bindings/go ] || with gofmt "gofmt" go_sources
with shellcheck "shellcheck" shell_scripts

if [ "${1:-}" != format ]; then
    if cargo clippy --version >/dev/null 2>&1; then
        check "clippy" cargo clippy --quiet --locked --all-targets --features cli -- -D warnings
    else
        skip "clippy" "not installed (rustup component add clippy)"
    fi
fi
finish

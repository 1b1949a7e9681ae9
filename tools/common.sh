# Sourced by the scripts of this folder: the repository's root, and words for the terminal.
# shellcheck shell=bash
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

# Where installers put things that a non-login shell may not have on its path.
for folder in "${CARGO_HOME:-$HOME/.cargo}/bin" /usr/local/go/bin; do
    case ":$PATH:" in
    *":$folder:"*) ;;
    *) [ -d "$folder" ] && PATH="$PATH:$folder" ;;
    esac
done
export PATH

# The CMake build tree, and where cargo builds for it and for the tests.
BUILD=$(realpath -m "${BUILD:-build}")
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}

have() { command -v "$1" >/dev/null 2>&1; }

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# at_least WANTED FOUND: is version FOUND (1.24.3) at least WANTED (1.24)?
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# The first version number in the text on stdin.
version_in() { grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1; }

# value_of KEY FILE: the value of `KEY = "value"` in a TOML file.
value_of() { sed -nE "s/^$1 = \"([^\"]+)\".*/\1/p" "$2" | head -n 1; }

# configure [FLAG...]: makes the CMake build tree. Builds share cargo's work with `cargo test`.
configure() {
    mkdir -p "$BUILD"
    cmake -S . -B "$BUILD" -DFOURBIT_CARGO_TARGET_DIR="$CARGO_TARGET_DIR" "$@" >"$BUILD/configure.log" 2>&1 || {
        cat "$BUILD/configure.log" >&2
        fail "CMake could not configure $BUILD"
    }
}

# The commit, and whether files differ from it.
commit_name() { git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown; }

# Today and the processor, as a file name.
result_name() {
    local cpu
    cpu=$(sed -nE 's/^model name[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
    printf '%s-%s\n' "$(date -u +%F)" "${cpu:-$(uname -m)}" | tr '[:upper:]' '[:lower:]' |
        sed -E 's/\((r|tm)\)//g; s/[^a-z0-9]+/-/g; s/-+$//'
}

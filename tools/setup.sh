#!/usr/bin/env bash
# Sees that the programs a task needs are there.   tools/setup.sh build|test|dist|docs|python
#
# What is missing is installed with apt-get where that works without asking for a password; where it
# does not, the exact command is printed. Programs that only some tests use (valgrind, Go) do not stop
# anything: those tests say that they were skipped.
source "$(dirname "$0")/common.sh"

MIN_CMAKE=3.22
MIN_GO=1.24
MIN_RUST=$(value_of rust-version Cargo.toml)

# package PROGRAM: its package in this system's package manager.
package() {
    case "$(manager):$1" in
    apt-get:c++ | zypper:c++) echo g++ ;;
    dnf:c++) echo gcc-c++ ;;
    pacman:c++ | *:cc) echo gcc ;;
    apt-get:python3-venv) echo python3-venv ;;
    pacman:python3-venv) echo python ;;
    *:python3-venv) echo python3 ;;
    apt-get:xz) echo xz-utils ;;
    *:sha256sum) echo coreutils ;;
    apt-get:abidiff) echo abigail-tools ;;
    *:abidiff) echo libabigail ;;
    apt-get:go) echo golang-go ;;
    dnf:go) echo golang ;;
    pacman:pkg-config) echo pkgconf ;;
    *) echo "$1" ;;
    esac
}

manager() {
    local each
    for each in apt-get dnf pacman zypper; do
        have $each && echo $each && return
    done
    echo none
}

# install_command PACKAGE...: what a person types.
install_command() {
    case "$(manager)" in
    apt-get) echo "sudo apt-get install -y $*" ;;
    dnf) echo "sudo dnf install -y $*" ;;
    pacman) echo "sudo pacman -S --noconfirm $*" ;;
    zypper) echo "sudo zypper install -y $*" ;;
    *) echo "install with your package manager: $*" ;;
    esac
}

# apt_install PACKAGE...: false where it would have to ask.
apt_install() {
    local as_root=()
    [ "$(manager)" = apt-get ] || return 1
    if [ "$(id -u)" != 0 ]; then
        have sudo && sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    echo "setup: installing $*"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@")
    "${as_root[@]}" "${install[@]}" </dev/null >/dev/null 2>&1 && return
    "${as_root[@]}" apt-get update -qq </dev/null >/dev/null 2>&1 || true
    "${as_root[@]}" "${install[@]}" </dev/null >/dev/null 2>&1
}

# need PROGRAM...: all of them, or stop.
need() {
    local missing=() program
    for program in "$@"; do
        have "$program" || missing+=("$(package "$program")")
    done
    [ ${#missing[@]} = 0 ] && return
    apt_install "${missing[@]}" || true
    for program in "$@"; do
        have "$program" && continue
        echo "error: missing: ${missing[*]}. Run this, then try again:" >&2
        echo "    $(install_command "${missing[@]}")" >&2
        exit 1
    done
}

# want PROGRAM WHAT: installs it if that is easy; says what is left out if not.
want() {
    have "$1" && return
    apt_install "$(package "$1")" || true
    have "$1" || echo "setup: no $1: $2 will be skipped.   $(install_command "$(package "$1")")"
}

need_rust() {
    if ! have cargo; then
        cat >&2 <<END
error: cargo was not found; fourbit needs Rust $MIN_RUST or later. Run this, then try again:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default
END
        exit 1
    fi
    local found
    found=$(cargo --version | version_in)
    at_least "$MIN_RUST" "$found" && return
    echo "error: cargo is $found; fourbit needs $MIN_RUST or later. Run this, then try again:" >&2
    if have rustup; then echo "    rustup update stable"; else echo "    see https://rustup.rs"; fi >&2
    exit 1
}

need_cmake() {
    need cmake
    local found
    found=$(cmake --version | version_in)
    at_least "$MIN_CMAKE" "$found" && return
    echo "error: cmake is $found; fourbit needs $MIN_CMAKE or later. Run this, then try again:" >&2
    echo "    python3 -m pip install --user 'cmake>=$MIN_CMAKE'" >&2
    exit 1
}

want_go() {
    if ! have go; then
        # An older Go than 1.21 could not fetch the one that go.mod asks for.
        local offered=0
        have apt-cache && offered=$(apt-cache policy golang-go 2>/dev/null | grep Candidate | version_in || echo 0)
        at_least 1.21 "$offered" && apt_install golang-go || true
    fi
    have go && at_least "$MIN_GO" "$(go version | version_in)" && return
    echo "setup: no Go $MIN_GO or later: the Go tests will be skipped.   See https://go.dev/doc/install"
}

# Python with venv: only for building SmolLM2 and for comparisons with transformers.
need_python() {
    need python3
    python3 -c 'import ensurepip, venv' 2>/dev/null && return
    apt_install "$(package python3-venv)" || true
    python3 -c 'import ensurepip, venv' 2>/dev/null && return
    echo "error: Python cannot make virtual environments. Run this, then try again:" >&2
    echo "    $(install_command "$(package python3-venv)")" >&2
    exit 1
}

case "${1:-build}" in
build)
    need_rust
    need cc c++ make
    need_cmake
    ;;
test)
    need_rust
    need cc c++ make pkg-config
    need_cmake
    want valgrind "memory checks of the C and C++ tests"
    want doxygen "the C and C++ reference"
    want abidiff "the comparison of the ABI with that of an earlier version"
    want_go
    ;;
dist)
    need_rust
    need python3 tar xz sha256sum
    ;;
docs)
    need_rust
    want doxygen "the C and C++ reference"
    ;;
python)
    need_python
    ;;
*) fail "usage: tools/setup.sh build|test|dist|docs|python" ;;
esac

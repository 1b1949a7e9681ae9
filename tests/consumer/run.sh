#!/usr/bin/env bash
# Other people's projects against the installed tree: CMake package, pkg-config, subproject.
#   tests/consumer/run.sh   (after `cmake --build`)
source "$(dirname "$0")/../tap.sh"

HERE=$ROOT/tests/consumer
WORK=$BUILD/consumer
VERSION=$(value_of version Cargo.toml)
rm -rf "$WORK"
mkdir -p "$WORK"

# install_tree: into a staging directory as packagers do, then moved away from its prefix.
install_tree() {
    DESTDIR="$WORK/staged" cmake --install "$BUILD" --prefix /opt/fourbit
    mv "$WORK/staged/opt/fourbit" "$WORK/moved"
}

tree_is_complete() {
    local path missing=()
    for path in bin/fourbit lib/libfourbit.a lib/libfourbit.so lib/libfourbit.so.0 "lib/libfourbit.so.$VERSION" \
        include/fourbit/fourbit.h include/fourbit/fourbit.hpp lib/pkgconfig/fourbit.pc \
        lib/cmake/fourbit/fourbitConfig.cmake lib/cmake/fourbit/fourbitConfigVersion.cmake \
        share/doc/fourbit/LICENSE-MIT share/doc/fourbit/LICENSE-APACHE share/doc/fourbit/README.md; do
        [ -e "$WORK/moved/$path" ] || missing+=("$path")
    done
    same "missing from the installed tree" "" "${missing[*]}"
}

no_path_of_this_machine() { ! grep -rIlF -e "$WORK" -e "$ROOT" -e /opt/fourbit "$WORK/moved"; }

# cmake_project FOLDER NAME FLAG...: configures and builds it in $WORK/NAME.
cmake_project() {
    local folder=$1 name=$2
    shift 2
    cmake -S "$HERE/$folder" -B "$WORK/$name" -DCMAKE_BUILD_TYPE=Release "$@" && cmake --build "$WORK/$name"
}

find_package() { cmake_project find_package "$1" -DCMAKE_PREFIX_PATH="$WORK/moved" "${@:2}"; }

fetch_content() {
    cmake_project fetch_content fetch_content -DFOURBIT_CHECKOUT="$ROOT" -DFOURBIT_CARGO_TARGET_DIR="$CARGO_TARGET_DIR"
}

with_pkg_config() { env PKG_CONFIG_PATH="$WORK/moved/lib/pkgconfig" "$@"; }

pkg_config() {
    mkdir -p "$WORK/pkg_config"
    with_pkg_config make -C "$HERE/pkg_config" OUT="$WORK/pkg_config"
}

programs_run() {
    local folder=$1 program
    for program in "${@:2}"; do
        "$WORK/$folder/$program" || { echo "$folder/$program failed" && return 1; }
    done
}

# The C examples, each a task of its own, as somebody else would build them.
c_examples() {
    cmake -S examples/c -B "$WORK/examples_c" -DCMAKE_PREFIX_PATH="$WORK/moved" -DCMAKE_BUILD_TYPE=Release &&
        cmake --build "$WORK/examples_c"
}

c_examples_run() {
    local run=$WORK/examples_c
    "$run/quantize_tensor" && "$run/convert_checkpoint" tests/fixtures/tiny-llama "$run/converted" &&
        "$run/load_weight" "$run/converted" && "$run/own_threads"
}

uses_soname() { readelf -d "$1" | grep -qF '[libfourbit.so.0]'; }
has_no_shared() { [ -x "$1" ] && ! readelf -d "$1" | grep -qF libfourbit; }

check "the tree is installed under DESTDIR" install_tree
check "the installed tree is complete" tree_is_complete
check "the installed tree names no path of the machine it was built on" no_path_of_this_machine
check "the installed command runs" same "fourbit --version" "fourbit $VERSION" "$("$WORK/moved/bin/fourbit" --version)"

check "find_package: a project builds after the prefix has moved" find_package find_package
check "find_package: its programs run" programs_run find_package c_fourbit c_shared c_static cpp_program
check "find_package: fourbit::shared is found by SONAME" uses_soname "$WORK/find_package/c_shared"
check "find_package: fourbit::static needs no shared library" has_no_shared "$WORK/find_package/c_static"
check "find_package: a component that was not built is refused" \
    refused 'component "cuda" is not in this build' find_package no_cuda -DWANTED_COMPONENTS=cuda
check "find_package: another minor version is refused" \
    refused 'compatible with requested version "0.99"' find_package no_version -DWANTED_VERSION=0.99

check "the C examples build against the installed tree" c_examples
check "the C examples run" c_examples_run

check "FetchContent: a project builds" fetch_content
check "FetchContent: its programs run" programs_run fetch_content c_fourbit c_shared c_static cpp_program

check "pkg-config: knows the version" same version "$VERSION" "$(with_pkg_config pkg-config --modversion fourbit)"
check "pkg-config: a Makefile builds" pkg_config
check "pkg-config: its programs run" programs_run pkg_config c_shared c_static cpp_program
check "pkg-config: libfourbit.a needs no shared library" has_no_shared "$WORK/pkg_config/c_static"
finish

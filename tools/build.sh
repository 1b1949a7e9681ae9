#!/usr/bin/env bash
# Builds the libraries and the command into build/stage.   tools/build.sh [CMAKE-FLAG...]
source "$(dirname "$0")/common.sh"

tools/setup.sh build
configure "$@"
cmake --build "$BUILD" --parallel "$(nproc)"

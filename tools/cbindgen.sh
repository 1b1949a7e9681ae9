#!/usr/bin/env bash
# Prints the path of the pinned cbindgen; builds it into .tools/ when the machine has none.
# Another version may print the same header differently, and the header is compared byte for byte.
source "$(dirname "$0")/common.sh"
VERSION=0.29.4

for candidate in "${CBINDGEN:-}" "$ROOT/.tools/bin/cbindgen" "$(command -v cbindgen || true)"; do
    if [ -n "$candidate" ] && [ "$("$candidate" --version 2>/dev/null)" = "cbindgen $VERSION" ]; then
        echo "$candidate"
        exit
    fi
done
echo "setup: building cbindgen $VERSION into .tools (once)" >&2
# Unoptimised: it runs for a second, and compiles four times as fast.
CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --version "$VERSION" --root "$ROOT/.tools" \
    --target-dir "$CARGO_TARGET_DIR/tools" cbindgen >&2
echo "$ROOT/.tools/bin/cbindgen"

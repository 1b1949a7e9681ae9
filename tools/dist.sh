#!/usr/bin/env bash
# Makes build/dist: an archive of the install tree, a bill of materials, and their checksums.
#   tools/dist.sh   (builds first)
source "$(dirname "$0")/common.sh"

tools/setup.sh dist
tools/build.sh
VERSION=$(value_of version Cargo.toml)
SYSTEM=$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)
NAME=fourbit-$VERSION-$SYSTEM
OUT=$BUILD/dist
# The same commit gives the same archive: times are the commit's.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
rm -rf "$OUT"
mkdir -p "$OUT"

cargo metadata --locked --format-version 1 --features cli \
    --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" |
    python3 tools/sbom.py "$SOURCE_DATE_EPOCH" >"$OUT/$NAME.spdx.json"
cmake --install "$BUILD" --prefix "$OUT/$NAME" >"$BUILD/dist-install.log"
cp "$OUT/$NAME.spdx.json" "$OUT/$NAME/share/doc/fourbit/sbom.spdx.json"
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+rw,go+r-w,a+X \
    -C "$OUT" -cJf "$OUT/$NAME.tar.xz" "$NAME"
rm -rf "${OUT:?}/$NAME"
(cd "$OUT" && sha256sum -- * >"$BUILD/SHA256SUMS" && mv "$BUILD/SHA256SUMS" .)
ls -l "$OUT"

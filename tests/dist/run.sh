#!/usr/bin/env bash
# What is given to others: the release archive, its bill of materials and checksums, the Debian packages.
#   tests/dist/run.sh   (after `cmake --build`)
source "$(dirname "$0")/../tap.sh"

VERSION=$(value_of version Cargo.toml)
ABI=$(sed -nE 's/^#define FOURBIT_ABI_VERSION ([0-9]+)$/\1/p' include/fourbit/fourbit.h)
NAME=fourbit-$VERSION-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)
OUT=$BUILD/dist
DEB=$BUILD/deb
WORK=$BUILD/dist-test
rm -rf "$WORK"
mkdir -p "$WORK"

checksums_hold() { (cd "$OUT" && sha256sum --check --strict SHA256SUMS && [ "$(wc -l <SHA256SUMS)" = 2 ]); }

unpacks() { tar -C "$WORK" -xJf "$OUT/$NAME.tar.xz" && [ -x "$WORK/$NAME/bin/fourbit" ]; }

# builds_and_runs FLAG...: the consumer's program with these flags.
builds_and_runs() { cc tests/consumer/main.c -o "$WORK/program" "$@" -lm && "$WORK/program"; }

archive_links() {
    local flags
    read -ra flags < <(env PKG_CONFIG_PATH="$WORK/$NAME/lib/pkgconfig" pkg-config --cflags --libs fourbit)
    builds_and_runs "${flags[@]}" -Wl,-rpath,"$WORK/$NAME/lib"
}

same_archive_again() {
    local before
    before=$(cat "$OUT/SHA256SUMS")
    tools/dist.sh && same "checksums of a second run" "$before" "$(cat "$OUT/SHA256SUMS")"
}

# The crates that the libraries and the command are made of, and no others.
bill_is_complete() {
    python3 - "$OUT/$NAME.spdx.json" "$(cargo tree --locked --edges normal --features cli --prefix none --format '{p}' |
        sed 's/ (.*//; s/ v/ /' | sort -u)" <<'END'
import json, sys
bill = json.load(open(sys.argv[1]))
assert bill["spdxVersion"] == "SPDX-2.3"
listed = {f"{p['name']} {p['versionInfo']}" for p in bill["packages"]}
assert listed == set(sys.argv[2].split("\n")), listed ^ set(sys.argv[2].split("\n"))
assert all(p["licenseDeclared"] != "NOASSERTION" for p in bill["packages"])
assert sum("checksums" in p for p in bill["packages"]) == len(listed) - 1
END
}

# dpkg_in_root ARGUMENT...: on a system of its own that has nothing else.
dpkg_in_root() { dpkg --root="$WORK/root" --force-depends --force-not-root "$@"; }

installs() {
    mkdir -p "$WORK/root/var/lib/dpkg"/{info,updates,triggers}
    touch "$WORK/root/var/lib/dpkg"/{status,available}
    dpkg_in_root --install "$DEB"/*.deb && [ "$(dpkg_in_root -l | grep -c '^ii')" = 3 ]
}

debian_links() {
    local usr=$WORK/root/usr lib
    lib=$usr/lib/$(cc -print-multiarch)
    local flags
    read -ra flags < <(env PKG_CONFIG_LIBDIR="$lib/pkgconfig" pkg-config --define-prefix --cflags --libs fourbit)
    builds_and_runs "${flags[@]}" -Wl,-rpath,"$lib" && same "fourbit --version" "fourbit $VERSION" "$("$usr/bin/fourbit" --version)"
}

removes() {
    dpkg_in_root --purge fourbit libfourbit-dev "libfourbit$ABI" || return 1
    same "left behind" "" "$(find "$WORK/root" -path "$WORK/root/var/lib/dpkg" -prune -o -not -type d -print)"
}

no_lintian_errors() { lintian --fail-on error --allow-root --no-cfg "$DEB"/*.deb; }

check "make dist" tools/dist.sh
check "the checksums are those of the files" checksums_hold
check "the archive unpacks" unpacks
check "a program links what was unpacked" archive_links
check "a second run gives the same archive" same_archive_again
check "the bill of materials has every crate and its licence" bill_is_complete
if have dpkg-deb; then
    check "make deb" tools/deb.sh
    check "the packages install" installs
    check "a program links what they installed" debian_links
    check "they remove cleanly" removes
    if have lintian; then check "lintian finds no errors" no_lintian_errors; else skip "lintian" "it is not installed"; fi
else
    skip "Debian packages" "there is no dpkg-deb"
fi
finish

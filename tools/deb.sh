#!/usr/bin/env bash
# Makes Debian packages in build/deb: libfourbit<ABI> (the shared library), libfourbit-dev (headers, static
# library, CMake package, pkg-config) and fourbit (the command).   tools/deb.sh   (builds first)
source "$(dirname "$0")/common.sh"

have dpkg-deb || fail "dpkg-deb was not found: Debian packages are made on Debian and its descendants"
tools/setup.sh build
VERSION=$(value_of version Cargo.toml)
ABI=$(sed -nE 's/^#define FOURBIT_ABI_VERSION ([0-9]+)$/\1/p' include/fourbit/fourbit.h)
ARCH=$(dpkg --print-architecture)
LIBDIR=lib/$(cc -print-multiarch)
OUT=$BUILD/deb
TREE=$OUT/tree
MAINTAINER="fourbit contributors <fourbit@users.noreply.github.com>"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
rm -rf "$OUT"
mkdir -p "$TREE"

# A configuration of its own, since the library's directory differs; cargo's work is shared.
BUILD=$BUILD/deb-build configure -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_INSTALL_LIBDIR="$LIBDIR"
cmake --build "$BUILD/deb-build" --parallel "$(nproc)"
DESTDIR=$TREE cmake --install "$BUILD/deb-build" >"$OUT/install.log"

# libc_version FILE...: the newest version of the C library that they ask for.
libc_version() { objdump -T "$@" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -uV | tail -n 1; }

# move PACKAGE PATH...: from the installed tree (under usr) into a package.
move() {
    local package=$1 path
    shift
    for path in "$@"; do
        mkdir -p "$OUT/$package/usr/$(dirname "$path")"
        mv "$TREE/usr/$path" "$OUT/$package/usr/$path"
    done
}

# documents PACKAGE: what Debian wants in /usr/share/doc/PACKAGE.
documents() {
    local folder=$OUT/$1/usr/share/doc/$1
    mkdir -p "$folder"
    {
        echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
        printf 'Upstream-Name: fourbit\n\nFiles: *\nCopyright: the fourbit contributors\nLicense: MIT or Apache-2.0\n\n'
        printf 'License: Apache-2.0\n On Debian systems: /usr/share/common-licenses/Apache-2.0\n\nLicense: MIT\n'
        sed 's/^$/./; s/^/ /' LICENSE-MIT
    } >"$folder/copyright"
    {
        printf 'fourbit (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md of fourbit %s.\n\n' "$VERSION" "$VERSION"
        printf ' -- %s  %s\n' "$MAINTAINER" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
    } | gzip -9n >"$folder/changelog.gz"
}

# package NAME SECTION DEPENDS SUMMARY DESCRIPTION
package() {
    local root=$OUT/$1
    documents "$1"
    mkdir -p "$root/DEBIAN"
    cat >"$root/DEBIAN/control" <<END
Package: $1
Source: fourbit
Version: $VERSION
Architecture: $ARCH
Multi-Arch: $([ "$1" = fourbit ] && echo foreign || echo same)
Maintainer: $MAINTAINER
Section: $2
Priority: optional
Depends: $3
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Description: $4
$(fold -s -w 76 <<<"$5" | sed 's/ *$//; s/^/ /')
END
    (cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    chmod -R u+rw,go+r-w,a+X "$root"
    find "$root" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0r touch -hd "@$SOURCE_DATE_EPOCH"
    dpkg-deb --root-owner-group --build "$root" "$OUT/$1_${VERSION}_$ARCH.deb"
    rm -rf "$root"
}

LIBRARY=libfourbit$ABI
WHAT="fourbit quantizes, saves, loads and multiplies 4-bit weights (NF4, FP4), and its files are those of \
transformers and bitsandbytes byte for byte, without Python."
NEEDS="libc6 (>= $(libc_version "$TREE/usr/$LIBDIR/libfourbit.so.$VERSION" "$TREE/usr/bin/fourbit")), libgcc-s1"

move "$LIBRARY" "$LIBDIR/libfourbit.so.$VERSION" "$LIBDIR/libfourbit.so.$ABI"
move libfourbit-dev "$LIBDIR/libfourbit.so" "$LIBDIR/libfourbit.a" "$LIBDIR/cmake" "$LIBDIR/pkgconfig" include
move fourbit bin
mkdir -p "$OUT/libfourbit-dev/usr/share/doc/libfourbit-dev"
mv "$TREE"/usr/share/doc/fourbit/{README.md,docs} "$OUT/libfourbit-dev/usr/share/doc/libfourbit-dev/"
rm -r "$TREE/usr/share/doc/fourbit"
left=$(find "$TREE" -not -type d)
[ -z "$left" ] || fail "no package takes: $left"
mkdir -p "$OUT/$LIBRARY/DEBIAN"
echo "libfourbit $ABI $LIBRARY (>= $VERSION)" >"$OUT/$LIBRARY/DEBIAN/shlibs"
echo "activate-noawait ldconfig" >"$OUT/$LIBRARY/DEBIAN/triggers"

package "$LIBRARY" libs "$NEEDS" "4-bit weights as transformers and bitsandbytes write them" "$WHAT"
package libfourbit-dev libdevel "$LIBRARY (= $VERSION)" "4-bit weights: headers and static library" \
    "$WHAT This package has the headers for C and C++, the static library, and what CMake and pkg-config ask for."
package fourbit science "$NEEDS" "4-bit weights: plan, quantize, inspect and verify checkpoints" \
    "$WHAT This package has the command."
rm -rf "$TREE" "$OUT/install.log"
ls -l "$OUT"

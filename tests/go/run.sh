#!/usr/bin/env bash
# The Go module against the installed tree: vet, then the tests with the race detector and under a collector
# that runs all the time.   tests/go/run.sh   (after tests/consumer/run.sh)
source "$(dirname "$0")/../tap.sh"

INSTALLED=$BUILD/consumer/moved
MIN_GO=$(sed -n 's/^go //p' bindings/go/go.mod)

if ! have go || ! at_least "$MIN_GO" "$(cd / && go version | version_in)"; then
    skip "Go" "no Go $MIN_GO or later is installed (https://go.dev/doc/install)"
    finish
fi
[ -d "$INSTALLED" ] || fail "no installed tree: run tests/consumer/run.sh first"
export PKG_CONFIG_PATH=$INSTALLED/lib/pkgconfig
export LD_LIBRARY_PATH=$INSTALLED/lib
cd bindings/go || exit 1

# Each line of the verbose output that names a test is counted by tools/test.sh.
check "go vet" go vet ./...
failed=0
GOEXPERIMENT=cgocheck2 GOGC=1 go test -count=1 -v -race . || failed=1
check "tests while the collector runs between taking and using an object" go test -count=1 -tags fourbit_collect .
check "tests with the static library" go test -count=1 -tags fourbit_static .
CHECKS_FAILED=$((CHECKS_FAILED + failed))
finish

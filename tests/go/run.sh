#!/usr/bin/env bash
# The Go module against the installed tree: form, tests with the race detector, under a collector that runs
# all the time, with the static library; and the engine in Go beside the one in C++.
#   tests/go/run.sh   (after `cmake --build` and tests/consumer/run.sh)
source "$(dirname "$0")/../tap.sh"

INSTALLED=$BUILD/consumer/moved
LLAMA=$BUILD/examples/llama/llama
MIN_GO=$(sed -n 's/^go //p' bindings/go/go.mod)
STATICCHECK=honnef.co/go/tools/cmd/staticcheck@latest

if ! have go || ! at_least "$MIN_GO" "$(cd / && go version | version_in)"; then
    skip "Go" "no Go $MIN_GO or later is installed (https://go.dev/doc/install)"
    finish
fi
[ -d "$INSTALLED" ] || fail "no installed tree: run tests/consumer/run.sh first"
export PKG_CONFIG_PATH=$INSTALLED/lib/pkgconfig
export LD_LIBRARY_PATH=$INSTALLED/lib
cd bindings/go || exit 1
PATH=$PATH:$(go env GOPATH)/bin

# gotest WHAT-IT-MEANS-IF-IT-FAILS FLAG...: each test of the verbose output is counted by tools/test.sh.
gotest() {
    local meaning=$1
    shift
    go test -count=1 "$@" && return
    CHECKS_FAILED=$((CHECKS_FAILED + 1))
    echo "not ok - $meaning   (again, in bindings/go: go test -count=1 $*)"
}

no_other_modules() { same "modules that this one needs" "" "$(go list -m all | tail -n +2)"; }

documented() {
    local undocumented
    # What go doc shows of the package without a comment in front of it.
    undocumented=$(go run ./internal/undocumented . ./examples/llama)
    same "exported names without a doc comment" "" "$undocumented"
}

same_version() {
    same "version of the library, the header and pkg-config" "$(pkg-config --modversion fourbit)" \
        "$(go test -count=1 -v -run '^TestVersionsAgree$' . | sed -n 's/.*versions: //p')"
}

# The static library is in the program: no shared one is asked for, and none has to be found.
static_program() {
    go build -tags fourbit_static -o "$BUILD/go-llama-static" ./examples/llama &&
        ! readelf -d "$BUILD/go-llama-static" | grep -F 'libfourbit' &&
        env -u LD_LIBRARY_PATH "$BUILD/go-llama-static" --help
}

# A copy of the module outside of this repository, as one that is downloaded.
vendored() {
    local work=$BUILD/go-vendor
    rm -rf "$work" && mkdir -p "$work/user" && cp -r "$ROOT/bindings/go" "$work/module" && cd "$work/user" &&
        printf 'package main\n\nimport "github.com/fourbit/fourbit/bindings/go"\n\nfunc main() { println(fourbit.VersionString()) }\n' >main.go &&
        go mod init example.org/user && go mod edit -require=github.com/fourbit/fourbit/bindings/go@v0.0.0 \
        -replace=github.com/fourbit/fourbit/bindings/go=../module && go mod vendor && go build -mod=vendor -o user . && ./user
}

# documents: every Go program in the documents builds, and runs on a checkpoint.
documents() {
    local work=$BUILD/go-documents document program
    rm -rf "$work" && mkdir -p "$work"
    for document in "$ROOT"/README.md "$ROOT"/docs/*.md; do
        awk -v base="$work/$(basename "$document" .md)" '
            /^```go$/ { inside = 1; text = ""; next }
            /^```$/ && inside { if (text ~ /^package main/) { folder = base "-" ++n; system("mkdir -p " folder); print text > (folder "/main.go") }; inside = 0; next }
            inside { text = text $0 "\n" }' "$document"
    done
    (cd "$work" && go mod init example.org/documents && go mod edit \
        -require=github.com/fourbit/fourbit/bindings/go@v0.0.0 -replace="github.com/fourbit/fourbit/bindings/go=$ROOT/bindings/go") || return 1
    for program in "$work"/*-*; do
        (cd "$work" && go run "./$(basename "$program")" "$ROOT/tests/fixtures/tiny-llama" "$program/out") || return 1
    done
    [ -e "$work"/go-2/out/model.safetensors ]
}

check "go vet" go vet ./...
check "go vet, with the tags" go vet -tags fourbit_static,fourbit_collect ./...
if have staticcheck; then
    check "staticcheck" staticcheck ./...
else
    skip "staticcheck" "not installed (go install $STATICCHECK)"
fi
check "no module but this one is needed" no_other_modules
check "everything exported is documented" documented
check "the versions agree" same_version
GOEXPERIMENT=cgocheck2 GOGC=1 gotest "a race, or a Go pointer that C must not have" -v -race . ./internal/layout
GOGC=1 gotest "something is not kept alive between taking and using it" -tags fourbit_collect .
gotest "the package does not work with the static library" -tags fourbit_static .
check "a program with the static library" static_program
check "programs in the documents" documents
check "the module builds from another module's vendor folder" vendored
if [ -x "$LLAMA" ]; then
    export FOURBIT_LLAMA=$LLAMA
else
    skip "the engines in Go and in C++ write the same" "the one in C++ is not built (FOURBIT_BUILD_EXAMPLES)"
fi
gotest "the engine in Go writes something else" -v ./examples/llama
finish

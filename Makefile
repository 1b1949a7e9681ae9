# What there is to do here. The work itself is in tools/*.sh and CMakeLists.txt.
PREFIX ?= /usr/local
export BUILD ?= build
MAKEFLAGS += --no-print-directory

.PHONY: help demo demo-smollm2 build test test-interop soak fuzz check bench bench-peers dist deb docs header lint install clean
.DEFAULT_GOAL := help

help:           ## Show this.
	@sed -nE 's/^([a-z0-9%-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

demo:           ## Quantize a small model and let it write, from its 4-bit weights.
	@tools/demo.sh tests/fixtures/tiny-llama "My dear Emma," --temperature 0.6 --seed 1 --tokens 160

demo-smollm2:   ## The same with SmolLM2-135M-Instruct (downloads about 150 MB).
	@tools/demo-smollm2.sh

build:          ## Libraries and command, into build/stage.
	@tools/build.sh

test:           ## Everything: what continuous integration runs.
	@tools/test.sh

test-%:         ## One step of it: make test-abi.
	@tools/test.sh $*

test-interop:   ## Against transformers and bitsandbytes in Python (downloads about 3 GB).
	@tools/test.sh build interop

soak:           ## The long forms of the tests of trust: hours (docs/reliability.md).
	@tools/soak.sh

fuzz:           ## Every fuzz target for a minute (needs a nightly toolchain and cargo-fuzz).
	@tools/fuzz.sh

check:          ## The everyday loop: lint, Rust tests, header. Under two minutes.
	@tools/test.sh lint rust header

bench:          ## Measure every operation against what the machine allows (benches/results).
	@tools/bench.sh

bench-peers:    ## Time other libraries on the same weights (benches/results; downloads some GB).
	@tools/bench_peers.sh

dist:           ## Release archive with bill of materials and checksums, into build/dist.
	@tools/dist.sh

deb:            ## Debian packages, into build/deb.
	@tools/deb.sh

docs:           ## API reference: Rust, C and C++, into build/reference.
	@tools/docs.sh

header:         ## Write include/fourbit/fourbit.h from src/ffi.
	@tools/header.sh

lint:           ## Formatting and clippy.
	@tools/lint.sh

install: build  ## Install to PREFIX (/usr/local); DESTDIR is honoured.
	@DESTDIR="$(DESTDIR)" cmake --install $(BUILD) --prefix "$(PREFIX)"

clean:          ## Remove everything that was built.
	rm -rf build target out .tools .venv

# Builds, checks and installs the library. `make help` lists the targets.

PREFIX ?= /usr/local
INCLUDEDIR ?= $(PREFIX)/include
LIBDIR ?= $(PREFIX)/lib
DESTDIR ?=

CARGO ?= cargo
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
MAJOR := $(firstword $(subst ., ,$(VERSION)))
TARGET := $(or $(CARGO_TARGET_DIR),target)

# What a program that links libutcp.a needs besides OpenSSL; `make link-check` compares it with what rustc says.
LIBS_PRIVATE := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

.DELETE_ON_ERROR:

.PHONY: all
all: library build/utcp.pc ## build the library: build/lib, build/utcp.pc

.PHONY: packages
packages:
	tools/packages build

# cargo knows what has changed, make does not.
.PHONY: library
library: packages
	$(CARGO) build --release --locked
	@mkdir -p build/lib
	tools/static-library $(TARGET)/release/libutcp.a build/lib/libutcp.a
	cp $(TARGET)/release/libutcp.so build/lib/libutcp.so.$(VERSION)
	ln -sf libutcp.so.$(VERSION) build/lib/libutcp.so.$(MAJOR)
	ln -sf libutcp.so.$(MAJOR) build/lib/libutcp.so

# Always made anew: it depends on variables.
.PHONY: build/utcp.pc
build/utcp.pc: utcp.pc.in
	@mkdir -p build
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS_PRIVATE@|$(LIBS_PRIVATE)|' $< >$@

.PHONY: header
header: build/utcp.h ## generate include/utcp.h from src/ffi
	cp build/utcp.h include/utcp.h

.PHONY: header-check
header-check: build/utcp.h ## compare include/utcp.h with what src/ffi says
	diff -u include/utcp.h build/utcp.h || \
	  { echo "include/utcp.h is not what src/ffi says: run make header, and commit it" >&2; exit 1; }

.PHONY: build/utcp.h
build/utcp.h:
	@mkdir -p build
	UTCP_HEADER=$(CURDIR)/$@ $(CARGO) check --locked --features header

.PHONY: link-check
link-check: ## check symbols, SONAME and needed libraries of an installed copy
	rm -rf build/installed
	$(MAKE) install DESTDIR= PREFIX=$(CURDIR)/build/installed LIBDIR=$(CURDIR)/build/installed/lib \
	  INCLUDEDIR=$(CURDIR)/build/installed/include
	CARGO="$(CARGO)" tools/link-check build/installed "$(LIBS_PRIVATE)"

.PHONY: install
install: all ## install to PREFIX (/usr/local), under DESTDIR
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	$(INSTALL) -m 644 include/utcp.h $(DESTDIR)$(INCLUDEDIR)/utcp.h
	$(INSTALL) -m 644 build/lib/libutcp.a $(DESTDIR)$(LIBDIR)/libutcp.a
	$(INSTALL) -m 755 build/lib/libutcp.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libutcp.so.$(VERSION)
	ln -sf libutcp.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libutcp.so.$(MAJOR)
	ln -sf libutcp.so.$(MAJOR) $(DESTDIR)$(LIBDIR)/libutcp.so
	$(INSTALL) -m 644 build/utcp.pc $(DESTDIR)$(LIBDIR)/pkgconfig/utcp.pc

.PHONY: uninstall
uninstall: ## remove what install has put there
	rm -f $(DESTDIR)$(INCLUDEDIR)/utcp.h $(DESTDIR)$(LIBDIR)/libutcp.a \
	  $(DESTDIR)$(LIBDIR)/libutcp.so $(DESTDIR)$(LIBDIR)/libutcp.so.$(MAJOR) \
	  $(DESTDIR)$(LIBDIR)/libutcp.so.$(VERSION) $(DESTDIR)$(LIBDIR)/pkgconfig/utcp.pc

.PHONY: check
check: check-packages library ## run all tests (tools/check names the parts)
	CARGO="$(CARGO)" tools/check

.PHONY: check-packages
check-packages:
	tools/packages check

.PHONY: lab-packages
lab-packages:
	tools/packages lab

.PHONY: sim
sim: SIM_RUNS ?= 10000
sim: packages ## long simulations, minutes: SIM_RUNS=10000 seeds of relays and of TCP alone, each property as often, each case 10 times
	UTCP_SIM_RUNS=$(SIM_RUNS) $(CARGO) test --locked --test sim anything_between -- --nocapture
	PROPTEST_CASES=$(SIM_RUNS) $(CARGO) test --locked --lib -- tcp::tests::pair tcp::tests::peer --nocapture
	UTCP_SIM_RUNS=10 $(CARGO) test --locked --test sim -- --skip anything_between

.PHONY: lint
lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings

.PHONY: bench-kernel
bench-kernel: lab-packages ## utcp's TCP beside the kernel's, in real time, as root (BENCH="--quick" and more)
	$(CARGO) run --release --locked --package utcp-lab --bin bench-kernel -- $(BENCH)

.PHONY: fuzz
fuzz: ## let cargo-fuzz work on each target (FUZZ_SECONDS=60 each)
	tools/fuzz $(or $(FUZZ_SECONDS),60)

.PHONY: demo
demo: ## a private Tor network over utcp, with verified downloads
	demo/run

.PHONY: lab-tor
lab-tor: lab-packages ## the paper's experiments on real Tor binaries, as root (LAB="--quick" and more)
	$(CARGO) run --release --locked --package utcp-lab --bin lab -- tor $(LAB)

.PHONY: lab-tor-smoke
lab-tor-smoke: lab-packages ## each of them for a moment: whether they work, and give figures
	$(CARGO) run --release --locked --package utcp-lab --bin lab -- tor --smoke --out build/lab/tor-smoke

.PHONY: demo-packages
demo-packages:
	tools/packages demo

.PHONY: bench-tcp
bench-tcp: packages ## TCP over emulated links in virtual time, beside others (BENCH="--quick" and more)
	$(CARGO) run --release --locked --package utcp-lab --bin bench-tcp -- $(BENCH)

.PHONY: lab-quick
lab-quick: lab-packages ## the laboratory in its short form, as root: Tor, rivals, whole networks, a report (LAB="--only sim" and more)
	$(CARGO) run --release --locked --package utcp-lab --bin lab -- all --quick $(LAB)

.PHONY: lab
lab: lab-packages ## the laboratory in its whole form, as root, overnight
	$(CARGO) run --release --locked --package utcp-lab --bin lab -- all $(LAB)

.PHONY: bench-datapath
bench-datapath: check-packages ## CPU time, throughput and memory of the data path, beside others (BENCH="--quick" and more)
	$(CARGO) build --release --locked --package utcp-lab --bin bench-datapath --bin bench-memory
	$(TARGET)/release/bench-datapath $(BENCH)

.PHONY: bench-quick
bench-quick: check-packages ## instructions of fixed workloads against lab/data/bench-quick.json (BENCH=--update stores them)
	$(CARGO) run --release --locked --package utcp-lab --bin bench-quick -- $(BENCH)

.PHONY: clean
clean: ## remove everything that was built
	$(CARGO) clean
	rm -rf build

.PHONY: help
help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# `make test` is the whole verification, on a fresh Debian machine with Rust too: it installs what
# it needs (tests/setup says what).

# rustup's folder and /usr/sbin (mosquitto) are not in everyone's PATH.
export PATH := $(PATH):$(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:/usr/sbin:/sbin

CARGO_FLAGS ?=

# The parts of a target use the same build folder and would only wait for each other's lock.
.NOTPARALLEL:
.PHONY: help build layout check test crash backlog cost bench setup clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

build: ## the program, optimised: target/release/kinesis-edge
	cargo build --release $(CARGO_FLAGS)

check: ## format and lints, with the default features, without them, and with `otlp`
	cargo fmt --check
	cargo clippy --all-targets $(CARGO_FLAGS) -- -D warnings
	cargo clippy --all-targets --no-default-features $(CARGO_FLAGS) -- -D warnings
	cargo clippy --all-targets --features otlp $(CARGO_FLAGS) -- -D warnings

test: setup check ## everything: set-up, check, all tests, and that the packaged configuration builds
	cargo test $(CARGO_FLAGS)
	cargo test $(CARGO_FLAGS) --features otlp --lib telemetry::otlp
	cargo test $(CARGO_FLAGS) --features otlp --test otlp
	cargo build --no-default-features $(CARGO_FLAGS)

KILLS ?= 200
crash: setup ## the queue on disk against SIGKILL, at length: KILLS=200
	CRASH_KILLS=$(KILLS) cargo test $(CARGO_FLAGS) --test crash -- --nocapture --test-threads 1

RECORDS ?= 2000000
backlog: setup ## the queue on disk after a long outage, optimised: RECORDS=2000000
	BACKLOG_RECORDS=$(RECORDS) cargo test --release $(CARGO_FLAGS) --test backlog -- --nocapture

MESSAGES ?= 100000
cost: setup ## what small messages cost with each setting: MESSAGES=100000
	COST_MESSAGES=$(MESSAGES) cargo test $(CARGO_FLAGS) --test cost -- --nocapture

CASES ?=
export BENCH_PROGRAM BENCH_RUNS
bench: setup ## speed, memory and cost beside a bare subscriber, as packaged: CASES="fed linear"
	$(if $(BENCH_PROGRAM),,cargo build --release --no-default-features --target-dir target/packaged $(CARGO_FLAGS))
	cargo bench $(CARGO_FLAGS) --bench bench -- $(CASES)

setup: ## what the tests need: a broker, a browser, and a Python environment in target/test-python
	tests/setup

layout: ## writes packaging/layout/used.ld anew (needs valgrind): what the packaged program keeps in memory
	CARGO_PROFILE_RELEASE_STRIP=none cargo build --release --no-default-features --target-dir target/packaged $(CARGO_FLAGS)
	packaging/layout/record target/packaged/release/kinesis-edge

clean: ## removes target, with the Python environment
	cargo clean

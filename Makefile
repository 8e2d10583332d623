# `make test` is the whole verification, on a fresh Debian machine with Rust too: it installs what
# it needs (tests/setup says what).

# rustup's folder and /usr/sbin (mosquitto) are not in everyone's PATH.
export PATH := $(PATH):$(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:/usr/sbin:/sbin

CARGO_FLAGS ?=

# The parts of a target use the same build folder and would only wait for each other's lock.
.NOTPARALLEL:
.PHONY: help build packages boot layout check deny test crash simulate hostile backlog cost bench fuzz setup clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

build: ## the program, optimised: target/release/kinesis-edge
	cargo build --release $(CARGO_FLAGS)

check: ## format and lints, with the default features, without them, and with `otlp`
	cargo fmt --check
	cargo clippy --all-targets $(CARGO_FLAGS) -- -D warnings
	cargo clippy --all-targets --no-default-features $(CARGO_FLAGS) -- -D warnings
	cargo clippy --all-targets --features otlp $(CARGO_FLAGS) -- -D warnings

packages: setup ## the Debian package, in target/packaged/debian
	packaging/build-deb $(CARGO_FLAGS)

boot: packages ## the package on a machine that boots: in a container (needs root, systemd-nspawn)
	cargo build $(CARGO_FLAGS)
	packaging/debian/boot-test

# Most tests wait, for processes and for clocks: with more of them at a time than there are processors, minutes are saved.
TEST_THREADS ?= 6
test: setup check deny packages ## everything: set-up, check, deny, the package, all tests
	cargo test $(CARGO_FLAGS) -- --test-threads $(TEST_THREADS)
	cargo test $(CARGO_FLAGS) --features otlp --lib telemetry::otlp
	cargo test $(CARGO_FLAGS) --features otlp --test otlp

KILLS ?= 200
crash: setup ## the queue on disk against SIGKILL, at length: KILLS=200
	CRASH_KILLS=$(KILLS) cargo test $(CARGO_FLAGS) --test crash -- --nocapture --test-threads 1

N ?= 10000
FROM ?= 0
simulate: ## the whole connector under simulated faults, optimised: N=10000 seeds, FROM=0 on
	SIMULATION_SEEDS=$(N) SIMULATION_FROM=$(FROM) cargo test --release $(CARGO_FLAGS) --test simulation -- --nocapture the_promises

hostile: SECONDS ?= 300
hostile: setup ## an honest app beside a hostile one, at length, optimised: SECONDS=300
	HOSTILE_SECONDS=$(SECONDS) cargo test --release $(CARGO_FLAGS) --test hostile -- --nocapture --test-threads 1

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

fuzz: SECONDS ?= 60
TARGETS ?= request arn parameters segment http
fuzz: ## looks for bytes from outside that break something (needs a nightly toolchain): SECONDS=60 TARGETS="segment http"
	fuzz/run $(SECONDS) $(TARGETS)

deny: ## licences, sources and versions of all crates; known faults of them where the list can be had
	tests/deny

setup: ## what the tests need: a broker, a browser, and a Python environment in target/test-python
	tests/setup

layout: ## writes packaging/layout/used.ld anew (needs valgrind): what the packaged program keeps in memory
	CARGO_PROFILE_RELEASE_STRIP=none cargo build --release --no-default-features --target-dir target/packaged $(CARGO_FLAGS)
	packaging/layout/record target/packaged/release/kinesis-edge

clean: ## removes target, with the Python environment
	cargo clean

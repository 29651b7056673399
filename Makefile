# One profile for everything that links RocksDB, and one target directory outside the checkout: a fresh clone does not
# compile RocksDB again. See docs/adr/0002-one-build-profile.md.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/trunkline/target
# The simulator has flags of its own (tests/simulation/.cargo), so it has a directory of its own.
SIMULATION_TARGET_DIR ?= $(HOME)/.cache/trunkline/simulation
SIMULATION := cd tests/simulation && CARGO_TARGET_DIR=$(SIMULATION_TARGET_DIR)
BINARY := $(CARGO_TARGET_DIR)/release/trunkline
# Integration tests start the binary that was built here.
export TRUNKLINE_BIN := $(BINARY)
PREFIX ?= $(HOME)/.local

DATA ?= ./data
WAN ?= real

.DEFAULT_GOAL := help
.PHONY: help setup build run install test bench verify clean \
	test-workspace test-simulation sim mutants format lint lint-simulation tidy deny

help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: ## Install what the build needs (clang for RocksDB's bindings)
	@deploy/setup

build: setup ## Build the binary
	cargo build --release --locked -p trunkline-node

run: build ## Start three datacenters on this machine (DATA=./data WAN=real|150ms|none)
	@exec $(BINARY) dev --data $(DATA) --wan $(WAN)

install: build ## Put the binary into $(PREFIX)/bin
	install -D -m 755 $(BINARY) $(PREFIX)/bin/trunkline

test: test-workspace test-simulation ## Run everything that must hold

test-workspace: build
	cargo test --release --locked --workspace

test-simulation: ## Run the simulator's tests only
	$(SIMULATION) cargo test --release --locked

SEEDS ?= 200
# `make sim SEED=7` replays that one and prints all that happened.
sim: ## Run seeds of the whole simulated cluster (SEEDS=200), or replay one (SEED=n)
	@$(SIMULATION) cargo build --release --locked --bin sim
	@$(SIMULATION_TARGET_DIR)/release/sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

mutants: ## Check that deliberately broken builds are caught, and write docs/mutants.md
	@$(SIMULATION) cargo build --release --locked --bin mutants
	@$(SIMULATION_TARGET_DIR)/release/mutants --table docs/mutants.md

bench: build ## Measure, and rewrite README's table (CASES=local-real,idle: only these; DURATION=5s: a trial that changes no file)
	$(BINARY) bench suite --data $(CARGO_TARGET_DIR) \
		$(if $(CASES),--cases $(CASES)) \
		$(if $(DURATION),--duration $(DURATION),--figures docs/figures.json --readme README.md)

verify: format lint lint-simulation tidy deny ## Check format, lints (warnings refused) and the rules of the house

format:
	cargo fmt --all --check
	cd tests/simulation && cargo fmt --check

lint: setup
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

lint-simulation:
	$(SIMULATION) cargo clippy --release --locked --all-targets -- -D warnings

tidy: ## Check the rules of the house only (tests/tidy)
	cargo test --release --locked -p trunkline-tidy

deny: ## Check licenses and sources of dependencies, where cargo-deny is installed
	@if cargo deny --version >/dev/null 2>&1; then \
		cargo deny --offline check bans licenses sources; \
	else \
		echo "cargo-deny is not installed: the licenses of dependencies were not checked"; \
	fi

clean: ## Remove what was built (RocksDB takes its minutes to come back)
	cargo clean
	$(SIMULATION) cargo clean

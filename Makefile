# One profile for everything that links RocksDB, and one target directory outside the checkout: a fresh clone does not
# compile RocksDB again. See docs/adr/0002-one-build-profile.md.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/trunkline/target
SIMULATION_TARGET_DIR ?= $(HOME)/.cache/trunkline/simulation
BINARY := $(CARGO_TARGET_DIR)/release/trunkline
PREFIX ?= $(HOME)/.local

DATA ?= ./data
WAN ?= real

.DEFAULT_GOAL := help
.PHONY: help setup build run install test verify clean

help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## Install what the build needs (clang for RocksDB's bindings)
	@deploy/setup

build: setup ## Build the binary
	cargo build --release --locked -p trunkline-node

run: build ## Start three datacenters on this machine (DATA=./data WAN=real|150ms|none)
	@exec $(BINARY) dev --data $(DATA) --wan $(WAN)

install: build ## Put the binary into $(PREFIX)/bin
	install -D -m 755 $(BINARY) $(PREFIX)/bin/trunkline

test: build ## Run everything that must hold
	cargo test --release --locked --workspace
	cd tests/simulation && CARGO_TARGET_DIR=$(SIMULATION_TARGET_DIR) cargo test --release --locked

verify: setup ## Formatting and lints, warnings refused
	cargo fmt --all --check
	cd tests/simulation && cargo fmt --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cd tests/simulation && CARGO_TARGET_DIR=$(SIMULATION_TARGET_DIR) cargo clippy --release --locked --all-targets -- -D warnings

clean: ## Remove what was built (RocksDB takes ten minutes to come back)
	rm -rf $(CARGO_TARGET_DIR) $(SIMULATION_TARGET_DIR)

# The commands of the project. `make` prints them.

# One target folder serves build, clippy, doc and test.
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Arguments of the demonstration, such as ARGS=--json.
ARGS ?=

ifeq ($(CI),true)
export CARGO_INCREMENTAL := 0
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test check fmt clippy doc deny lint-proto lint-shell layout bench docs clean

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' $(MAKEFILE_LIST) | awk '{ name = $$2; $$1 = $$2 = ""; printf "  make %-12s%s\n", name, $$0 }'

setup: ## Install what this machine lacks for everything below, and say what could not be
	@deploy/dev/setup

demo: ## Build and watch agencies exchange signed requests; ARGS=--hold keeps it running
	@deploy/dev/setup build
	@echo "building; the first time takes some minutes" >&2
	@cargo build --locked --package kopuro
	@$(TARGET)/debug/kopuro demo $(ARGS)

test: ## Run every test, with a real Kafka and a foreign client
	@tests/run

check: ## Check form: fmt, clippy, doc, deny, the schemas, the scripts, the direction of imports
	@deploy/dev/setup build check
	@$(MAKE) --no-print-directory fmt clippy doc deny lint-proto lint-shell layout
	@echo "check: all good"

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets --locked -- --deny warnings

doc:
	RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --locked

# Advisories come from a host that CI does not reach.
deny:
	.kopuro/tools/bin/cargo-deny --locked check bans licenses sources

lint-proto:
	proto/lint

lint-shell:
	shellcheck $$(git ls-files --cached | xargs grep -lE '^#!.*bash')

layout:
	cargo test --locked --package kopuro-tests --test suite layout

bench: ## Measure the bus against direct gRPC; a table, then JSON
	@deploy/dev/setup build kafka
	@deploy/dev/with-kafka cargo run --release --locked --package kopuro-benches -- $(ARGS)

docs: ## Write the pages that are generated from code
	KOPURO_WRITE_DOCS=1 cargo test --locked --package kopuro-core catalogue

clean: ## Remove what was built and installed here; data stays
	cargo clean
	rm -rf .kopuro/buf .kopuro/python .kopuro/tools deploy/kafka/.cache

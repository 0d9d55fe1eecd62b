# Short targets; `make run` and `make test` are all that a fresh Debian or Ubuntu machine needs.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
SAY = @printf '\n==> %s\n'

.PHONY: help run build dev migrate tools test test-unit test-integration test-rollback coverage check docs fmt bench clean
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 18

run: ## Install what is missing, build in release, start the whole service (STREAMING_* pass through)
	$(SAY) '1/3 install what is missing' && tools/install run
	$(SAY) '2/3 build (the first time takes minutes, later ones seconds)' && cargo build --release --locked --workspace --bins
	$(SAY) '3/3 start' && exec target/release/streaming-service up

build: ## Build the release programs only
	cargo build --release --locked --workspace --bins

dev: ## Start the service from an unoptimised build, with LOG_LEVEL=debug
	cargo build --locked --workspace --bins && LOG_LEVEL=$${LOG_LEVEL:-debug} exec target/debug/streaming-service up

migrate: build ## Bring the database of STREAMING_DATABASE_URL up to date
	target/release/streaming-control migrate

tools: ## Install what the tests need: Chromium, Node, Go, grpcurl, MinIO, nginx, Python tools
	tools/install test

test: ## Install what the tests need, then run them all against real parts
	$(SAY) '1/3 install what is missing' && tools/install test
	$(SAY) '2/3 build' && cargo build --locked --workspace --all-targets
	$(SAY) '3/3 test' && cargo test --locked --workspace --no-fail-fast

test-unit: ## Run the tests that need no other process
	cargo test --locked --workspace --no-fail-fast --lib --bins

test-integration: ## Run the tests that start real parts and whole services (as `make test`, without installing)
	cargo build --locked --workspace --all-targets
	cargo test --locked --workspace --no-fail-fast --test '*'

test-rollback: ## Run control of the newest release on the present schema (not part of `make test`)
	tools/test-rollback

coverage: ## Run every test and say which lines ran: target/llvm-cov/html (installs cargo-llvm-cov)
	@command -v cargo-llvm-cov >/dev/null || cargo install --locked cargo-llvm-cov
	@! command -v rustup >/dev/null || rustup component add llvm-tools
	cargo llvm-cov --locked --workspace --html

check: ## What must hold before a commit: format, lints, documentation, dependencies, deployment files
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; else echo 'skip: cargo-deny is not installed'; fi
	tools/check-deploy
	@if command -v promtool >/dev/null; then promtool check rules ops/prometheus/alerts.yaml && promtool test rules ops/prometheus/alerts.test.yaml; else echo 'skip: promtool is not installed'; fi

docs: ## Write docs/configuration.md out of the programs' own tables
	cargo build --locked --workspace --bins
	tools/config-docs > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md

fmt: ## Format the code
	cargo fmt --all

bench: build ## Measure against the goals and write bench/results
	bench/run

clean: ## Remove what was built; keeps ./data
	cargo clean

# Shortcuts for common tasks. A fresh Debian or Ubuntu machine needs only `make run` and `make test`.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH):$(CURDIR)/.tools/bin
NEXTEST := cargo nextest run --locked --workspace
# One more than cores; the groups of .config/nextest.toml limit what runs side by side.
export NEXTEST_TEST_THREADS ?= $(shell expr $$(nproc) + 1)
STEP = @printf '\n==> %s\n'

.PHONY: help run build dev migrate tools test test-unit test-integration screenshots test-rollback coverage check docs fmt bench bench-quality clean
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 18

run: ## Install missing programs, build in release mode, start the whole service (passes STREAMING_* through)
	$(STEP) '1/3 install missing programs' && tools/install run
	$(STEP) '2/3 build (the first time takes minutes, later ones seconds)' && tools/build-web
	cargo build --release --locked --workspace --bins
	$(STEP) '3/3 start' && exec target/release/streaming-service up

build: ## Build only the release programs, with the web console (installs Node if it is missing)
	tools/install web && tools/build-web
	cargo build --release --locked --workspace --bins

dev: ## Start the service from an unoptimised build, with LOG_LEVEL=debug
	tools/install web && tools/build-web
	cargo build --locked --workspace --bins && LOG_LEVEL=$${LOG_LEVEL:-debug} exec target/debug/streaming-service up

migrate: build ## Migrate the database of STREAMING_DATABASE_URL
	target/release/streaming-control migrate

tools: ## Install the programs that checks and tests need: Chromium, Node, Go, grpcurl, MinIO, nginx, nextest, cargo-deny
	tools/install test

test: ## Install the programs that tests need, then run all tests against real programs
	$(STEP) '1/3 install missing programs' && tools/install test
	$(STEP) '2/3 build' && tools/build-web
	cargo build --locked --workspace --all-targets
	$(STEP) '3/3 test' && tools/build-web test && $(NEXTEST)

test-unit: ## Run the tests that start no other process
	$(NEXTEST) --lib --bins

test-integration: ## Run the tests that start real programs and whole services (as `make test`, without installing)
	tools/build-web
	cargo build --locked --workspace --all-targets
	$(NEXTEST) --tests -E 'kind(test)'

screenshots: ## Write pictures of every screen of the console, in both themes and two sizes, into tests/browser/screenshots
	tools/install test && tools/build-web && cargo build --locked --workspace --bins
	$(NEXTEST) --test e2e -E 'test(=console::every_screen_is_accessible_small_and_private)'

test-rollback: ## Run control of the newest release on the current schema (not part of `make test`)
	tools/test-rollback

coverage: ## Run all tests and report covered lines in target/llvm-cov/html (installs cargo-llvm-cov)
	@command -v cargo-llvm-cov >/dev/null || cargo install --locked cargo-llvm-cov
	@! command -v rustup >/dev/null || rustup component add llvm-tools
	cargo llvm-cov --locked --workspace --html

check: ## Run the checks that must pass before a commit: format, lints, documentation, dependencies, deployment files, language
	$(STEP) '1/2 install missing tools' && tools/install check
	$(STEP) '2/2 check' && cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	cargo deny --locked check bans licenses sources
	@if ls -d $${CARGO_HOME:-$$HOME/.cargo}/advisory-db*/*/ >/dev/null 2>&1; then cargo deny --locked check --disable-fetch advisories; \
	else echo 'not checked: security advisories of dependencies (no advisory database here; `cargo deny fetch db` downloads it)'; fi
	tools/build-web check
	tools/check-deploy
	tools/check-docs
	tools/check-language
	python3 tools/test_check_language.py
	promtool check rules ops/prometheus/alerts.yaml
	promtool test rules ops/prometheus/alerts.test.yaml

docs: ## Generate docs/configuration.md from the programs
	cargo build --locked --workspace --bins
	tools/config-docs > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md

fmt: ## Format the code
	cargo fmt --all

bench: build ## Measure against the goals and write bench/results
	bench/run

bench-quality: ## Measure the bytes and the VMAF of what workers encode; write bench/results/quality.json
	bench/quality

clean: ## Delete build output; keep ./data
	cargo clean

# klet: every task a user or a developer needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
PREFIX ?= /usr/local
TARGET := target/release
SYSTEM_PACKAGES := busybox-static ca-certificates gcc iproute2 libc6-dev make util-linux

.PHONY: help setup build images run test chaos lint docs ci install uninstall clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

setup: ## install what building and testing need (Debian packages)
	@missing=""; for package in $(SYSTEM_PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi

build: setup ## build kletd
	$(CARGO) build --locked --release -p kletd

images: setup ## build the fixture images into target/images
	$(CARGO) run --locked --release -q -p build-images -- target/images

run: build images ## the tour: a pod lives its life, in a world of its own
	$(CARGO) run --locked --release -q -p klet-e2e --bin tour

test: build images ## every test that runs on this machine
	$(CARGO) test --locked --workspace

chaos: build images ## kill kletd at random moments under load for SECONDS (60); CHAOS_SEED repeats a run
	CHAOS_SECONDS=$(or $(SECONDS),60) $(CARGO) test --locked -p klet-e2e --test chaos -- --nocapture

lint: ## format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

docs: ## documentation of the crates
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --workspace --document-private-items

ci: setup test ## what the continuous integration runs

install: build ## install the binaries and the systemd unit below DESTDIR and PREFIX
	install -D -m 0755 $(TARGET)/kletd $(DESTDIR)$(PREFIX)/bin/kletd
	install -D -m 0644 docs/kletd.service $(DESTDIR)$(PREFIX)/lib/systemd/system/kletd.service

uninstall: ## remove what install put there

clean: ## remove everything that was built
	$(CARGO) clean

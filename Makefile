# klet: every task a user or a developer needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
PREFIX ?= /usr/local
TARGET := target/release
SYSTEM_PACKAGES := busybox-static ca-certificates gcc iproute2 libc6-dev make nftables util-linux
BENCH_PACKAGES := catatonit conmon crun netavark podman runc
VM_PACKAGES := qemu-system-x86

.PHONY: help setup build images run test chaos bench vm-test oracle lint docs ci install uninstall clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

setup: ## install what building and testing need (Debian packages)
	@missing=""; for package in $(SYSTEM_PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi

build: setup ## build kletd and kletctl
	$(CARGO) build --locked --release -p kletd -p kletctl

images: setup ## build the fixture images into target/images
	$(CARGO) run --locked --release -q -p build-images -- target/images

run: build images ## the tour: a pod lives its life, in a world of its own
	$(CARGO) run --locked --release -q -p klet-e2e --bin tour

test: build images ## every test that runs on this machine
	$(CARGO) test --locked --workspace

chaos: build images ## kill kletd at random moments under load for SECONDS (60); CHAOS_SEED repeats a run
	CHAOS_SECONDS=$(or $(SECONDS),60) $(CARGO) test --locked -p klet-e2e --test chaos -- --nocapture

bench: build images ## every benchmark against crun, runc and podman (installed if missing); BENCH_FLAGS=--document keeps the table
	@for package in $(BENCH_PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$package || true; done
	$(CARGO) run --locked --release -q -p klet-bench -- $(BENCH_FLAGS)

vm-test: build images ## kernel and end-to-end tests on cgroup v2 and Linux 6.1, in a virtual machine (TEST=name)
	@$(MAKE) -s setup SYSTEM_PACKAGES=$(VM_PACKAGES)
	$(CARGO) run --locked --release -q -p klet-e2e --bin vm -- $(TEST)

ORACLE ?= ../shared/oracle
oracle: build images ## every case of the folder ORACLE against what a real node did (ARGS=--fast|--only NAME)
	$(CARGO) run --locked --release -q -p klet-oracle -- $(ORACLE) $(ARGS)

lint: setup ## format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

docs: setup ## documentation of the crates
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --workspace --document-private-items

ci: lint test docs ## what the continuous integration runs

install: build ## install binaries, systemd unit, completions and man pages below DESTDIR and PREFIX
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(TARGET)/kletd $(TARGET)/kletctl
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local/bin|$(PREFIX)/bin|' docs/kletd.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/kletd.service
	install -d $(DESTDIR)$(PREFIX)/share/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d,man/man1}
	$(TARGET)/kletctl completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kletctl
	$(TARGET)/kletctl completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_kletctl
	$(TARGET)/kletctl completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/kletctl.fish
	$(TARGET)/kletctl man --dir $(DESTDIR)$(PREFIX)/share/man/man1

uninstall: ## remove what install put there; state below /var/lib/klet stays (kletctl system reset)
	rm -f $(DESTDIR)$(PREFIX)/bin/{kletd,kletctl} $(DESTDIR)$(PREFIX)/lib/systemd/system/kletd.service
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kletctl $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_kletctl
	rm -f $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/kletctl.fish $(DESTDIR)$(PREFIX)/share/man/man1/kletctl*.1

clean: ## remove everything that was built
	$(CARGO) clean

# `make` alone prints the list of targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PORT ?= 8000
MINUTES ?= 10
WASM := dist/tollgate.wasm
META := dist/tollgate.meta.json
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
WASM_BUILT := $(TARGET_DIR)/wasm32-wasip1/wasm/tollgate.wasm
CARGO := cargo --locked
# What `make run` and the meta file need, built by one call: two calls would select different features, and build dependencies twice.
NATIVE := -p tollgate-cli -p tollgate-testkit -p wasm-trim --bins
COMPOSE := docker compose --file kong/docker-compose.yml
# The paths of the sources and the registry are nobody's business, and would make every build differ.
REMAP := --remap-path-prefix=$(CURDIR)=tollgate --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo
# Unit tests of the core that take seconds each; all others together take as long as one of these.
SLOW := no_lease_ends_because_there_are_many where_nothing_is_dropped_a_slot_is_made_when_it_is_first_used \
  steady_overload_gets_all_of_the_rate a_million_anonymous_clients_push_no_consumer_out no_two_slots_are_the_same_key_to_kong
export TOLLGATE_ENVOY ?= $(CURDIR)/.venv/bin/envoy
export TOLLGATE_WASM ?= $(CURDIR)/$(WASM)
export TOLLGATE_COMMAND ?= $(CURDIR)/dist/tollgate

##@ Use it

# The store is the unoptimized build that the meta file needs anyway, since in a fresh clone a release build takes minutes.
.PHONY: run
run: export TOLLGATE_COMMAND := $(abspath $(TARGET_DIR))/debug/tollgate
run: setup-run build-wasm ## two real gateways that share a limit, from http://127.0.0.1:8000 on, and a table of what they do; CHECK=1 asserts it; PORT=8080; REDIS=redis://…; UPSTREAM=127.0.0.1:9000 for an application
	@exec $(TARGET_DIR)/debug/tollgate-demo --port $(PORT) $(if $(UPSTREAM),--upstream $(UPSTREAM)) $(if $(CHECK),--check)

.PHONY: build-wasm
build-wasm: $(META) ## dist/tollgate.wasm and dist/tollgate.meta.json

.PHONY: build
build: build-wasm ## build-wasm, and the native command dist/tollgate
	@$(CARGO) build --quiet --release -p tollgate-cli --bin tollgate
	@install -m 755 $(TARGET_DIR)/release/tollgate dist/tollgate

.PHONY: kong-up
kong-up: need-docker build ## docker compose with the real Kong image, the store beside it, and a Redis
	$(COMPOSE) up --detach --wait

.PHONY: kong-test
kong-test: kong-up ## the end-to-end suite against that Kong
	$(MAKE) e2e GATEWAY_URL=http://127.0.0.1:$(PORT) GATEWAY_KIND=kong

.PHONY: kong-down
kong-down: need-docker ## stops that Kong and removes its volumes
	$(COMPOSE) down --volumes

.PHONY: e2e
e2e: ## the end-to-end suite against a running gateway: GATEWAY_URL=http://host:port [GATEWAY_KIND=kong|envoy]
	@[ -n "$${GATEWAY_URL:-$(GATEWAY_URL)}" ] || { echo "say which gateway: make e2e GATEWAY_URL=http://host:port" >&2; exit 2; }
	GATEWAY_URL=$(GATEWAY_URL) GATEWAY_KIND=$(GATEWAY_KIND) $(CARGO) test -p tollgate-e2e --test gateway

.PHONY: k8s-configmap
k8s-configmap: build-wasm ## the filter as a ConfigMap, for clusters that cannot fetch its image: k8s/components/filter-configmap
	@scripts/k8s-configmap.sh

.PHONY: k8s-check
k8s-check: setup build ## checks manifests, chart and policies after your changes in k8s/, charts/, kong/, envoy/; CHART=folder of Kong's chart
	@CHART=$(CHART) scripts/ops.sh

.PHONY: images
images: need-docker ## the Dockerfile's images of filter and store
	@for target in filter filter-wasm store; do scripts/image.sh $$target; done

##@ Work on it

.PHONY: test
test: setup build ## everything that CI runs; ONLY="core store" runs only these groups of steps
	@scripts/test.sh $(ONLY)

.PHONY: quick
quick: ## what a change to the core needs, in seconds: formatting and the unit tests of core and node, except the five slowest
	@cargo fmt --all --check
	@$(CARGO) test --quiet -p tollgate-core -p tollgate-node --lib -- $(SLOW:%=--skip %)

.PHONY: python
python: setup build ## builds the Python package, checks it and tests it
	@scripts/python.sh

.PHONY: wheel
wheel: ## the Python package for this machine and its sources, in dist/release
	@scripts/setup.sh python
	@scripts/python.sh wheel

.PHONY: soak
soak: setup build ## the full suite of gateways that share a store: every fault, at length
	TOLLGATE_SOAK=1 $(CARGO) test -p tollgate-e2e --test shared -- --nocapture --test-threads=1

.PHONY: test-valkey
test-valkey: ## the store's backend suite on an installed Valkey instead of Redis
	@scripts/valkey.sh

.PHONY: monitoring
monitoring: setup build ## alerts and dashboards, checked on a real Prometheus
	@scripts/monitoring.sh

.PHONY: pictures
pictures: setup build ## draws the docs' pictures again: the README's from a run of the demo, the dashboards' from real gateways in a quarter of an hour; ONLY=run for the first
	@$(MAKE) --silent run CHECK=1 | scripts/picture.py
	@$(if $(filter run,$(ONLY)),,scripts/monitoring.sh pictures)

.PHONY: bench
bench: setup build ## every benchmark: ratios on stdout, bench/results/*.json; KONG=PREFIX runs on the Kong installed there
	@scripts/setup.sh bench
	@scripts/python.sh bench
	TOLLGATE_PYTHON=$(abspath $(TARGET_DIR))/python/bench/bin/python $(CARGO) run --quiet --release -p tollgate-bench $(if $(KONG),-- kong --kong $(KONG))

.PHONY: fuzz
fuzz: setup ## every fuzz target for MINUTES=10 each
	@scripts/fuzz.sh $$(( $(MINUTES) * 60 ))

.PHONY: figures
figures: ## the peers' and Tollgate's own numbers in docs/figures, and the picture of them
	@$(CARGO) run --quiet --profile sim -p tollgate-peers

.PHONY: sim
sim: ## whole clusters, simulated: 300 fresh seeds, or MINUTES=… or HOURS=… of them, or SEED=… again [SCENARIO=…], or BENCH=1
	@$(CARGO) run --quiet --profile $(if $(BENCH),release,sim) -p tollgate-sim -- $(if $(SEED),--seed $(SEED)) $(if $(SCENARIO),--scenario $(SCENARIO)) \
	  $(if $(HOURS),--minutes $$(( $(HOURS) * 60 )),$(if $(findstring command,$(origin MINUTES)),--minutes $(MINUTES))) $(if $(BENCH),--bench)

.PHONY: site
site: setup ## dist/site: the documentation, with its links checked
	@scripts/site.sh

.PHONY: mutations
mutations: setup ## makes one deliberate fault after another and checks that each is caught; ONLY=name, TABLE=1 for docs/mutations.md
	@$(CARGO) run --quiet -p tollgate-mutations -- $(if $(ONLY),--only $(ONLY)) $(if $(TABLE),--table)

.PHONY: lint
lint: setup ## checks formatting, clippy on both targets, docs, licenses, shell, YAML
	@scripts/lint.sh

.PHONY: fmt
fmt: ## formats the Rust code
	@cargo fmt --all
	@cargo fmt --manifest-path fuzz/Cargo.toml
	@cargo fmt --manifest-path bench/noop/Cargo.toml

.PHONY: setup
setup: setup-run ## installs what tests and linters need
	@scripts/setup.sh test

.PHONY: setup-run
setup-run:
	@scripts/setup.sh run

.PHONY: clean
clean: ## removes what was built
	rm -rf target dist .venv

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: need-docker
need-docker:
	@docker info >/dev/null 2>&1 || { echo "This target runs the real Kong image and needs a Docker engine, which does not answer here (docker info). Start one, or use 'make run', which needs none." >&2; exit 2; }

# Cargo knows what is up to date, so this always runs.
.PHONY: $(META)
$(META): setup-run
	@mkdir -p dist
	@[ -e $(WASM_BUILT) ] || echo "building the filter and the store, which takes minutes the first time"
	@RUSTFLAGS="$(REMAP)" $(CARGO) build --quiet --profile wasm --target wasm32-wasip1 -p tollgate
	@$(CARGO) build --quiet $(NATIVE)
	@$(TARGET_DIR)/debug/wasm-trim $(WASM_BUILT) $(WASM)
	@$(TARGET_DIR)/debug/tollgate meta > $(META).new && mv $(META).new $(META)

# Two promises on a machine with nothing but python3 (3.11 or newer) and its venv module: `make demo` and `make test`.
#
# Everything lives in .venv. What is installed is pinned with hashes in requirements/. The two files .venv/.run and
# .venv/.dev are stamps: as long as nothing they depend on changes, nothing is installed again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# -n auto: one pytest process a core. Overrule it with, say, `make test PYTEST_ARGS='-n0 -x tests/model'`.
PYTEST_ARGS ?= -n auto

PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
# What ruff and mypy look at; each plugin is type-checked on its own, as it is installed.
CHECKED := conftest.py $(wildcard replay tests examples benchmarks)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# ---------------------------------------------------------------------------------------------------------- promises

demo: $(VENV)/.run  ## A workflow over real files, killed twice and resumed: sets itself up, then runs
	$(BIN)/python examples/demo/demo.py

test: $(VENV)/.dev  ## All tests, in parallel: sets itself up, then runs
	$(BIN)/python -m pytest $(PYTEST_ARGS)
	@echo "make test: no test failed"

# ------------------------------------------------------------------------------------------------------------ checks

lint: $(VENV)/.dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy --strict over everything, pyright over the public face
	$(BIN)/mypy $(CHECKED)
	@for plugin in $(PLUGINS); do echo "mypy $$plugin"; MYPYPATH="$$plugin" $(BIN)/mypy "$$plugin" || exit; done
	$(BIN)/pyright

floors: $(VENV)/.dev  ## import-linter: a module imports only from lower floors
	$(BIN)/lint-imports

ci:  ## What CI runs: system packages, tests without a skip, lint, types, floors
	.ci/run

protos: $(VENV)/.dev  ## Generate the wire again (TypeScript too, once `make sdk-typescript` ran); tests prove that it leaves no diff
	$(BIN)/python protos/generate.py
	$(BIN)/python protos/generate_go.py

# -------------------------------------------------------------------------------------------------------------- SDKs

sdks: $(patsubst sdks/%,sdk-%,$(wildcard sdks/*))  ## Build the SDKs in other languages; `make test` runs their tests

# The system's Node.js and Go where they are new enough, else those that .venv brings.
TOOLS = export PATH="$$($(BIN)/python -m tests.helpers.toolchains)"

sdk-typescript: sdks/typescript/node_modules/.package-lock.json  ## Build the TypeScript SDK
	$(TOOLS) && cd sdks/typescript && npm run --silent build

sdk-go: $(VENV)/.dev  ## Build the Go SDK
	$(TOOLS) && cd sdks/go && go build ./... && go vet ./...

sdks/typescript/node_modules/.package-lock.json: sdks/typescript/package-lock.json | $(VENV)/.dev
	$(TOOLS) && cd sdks/typescript && npm ci --silent
	@touch $@

# -------------------------------------------------------------------------------------------------------- benchmarks

bench: $(VENV)/.dev  ## Every workload beside its limit, in one table (quote ratios of one run: machines are noisy)
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-sort=name --benchmark-columns=median,iqr,rounds -p no:xdist --timeout=0 $(BENCH_ARGS)

bench-smoke: $(VENV)/.dev  ## The benchmarks, small, each run once as a test
	$(BIN)/python -m pytest benchmarks

bench-check: $(VENV)/.dev  ## Whether a hot path has become slower than its committed ratio to plain Python
	$(BIN)/python -m benchmarks.check $(CHECK_ARGS)

profile: $(VENV)/.dev  ## Where the time of W1, W2 and W3 goes, by room
	$(BIN)/python -m benchmarks.profiling $(PROFILE_ARGS)

growth: $(VENV)/.dev  ## What each workload costs as it grows by ten, three times; checked and plotted
	$(BIN)/python -m benchmarks.growth $(GROWTH_ARGS)

AGAINST := benchmarks/against

against: $(VENV)/.dev $(AGAINST)/.venv/.ready  ## The same workloads on replay and its peers, in turn (AGAINST_ARGS='--rounds 5 --budget 3600')
	$(BIN)/python -m benchmarks.against $(AGAINST_ARGS)

# In an environment of their own. When not all can be had, each is tried for itself: those that are missing are told in the table.
$(AGAINST)/.venv/.ready: $(AGAINST)/requirements.txt $(AGAINST)/package-lock.json | $(VENV)/.dev
	@echo "make: setting up the peers in $(AGAINST)/.venv (once)"
	@$(BIN)/uv venv --quiet --clear $(@D)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(@D)/bin/python --require-hashes -r $< \
	  || grep -v '^#' $(AGAINST)/requirements.in | while read -r peer; do \
	       $(BIN)/uv pip install --quiet --python $(@D)/bin/python "$$peer" || echo "make: no $$peer"; done
	@cd $(AGAINST) && npm ci --silent --ignore-scripts --no-audit --no-fund || echo "make: no Restate server, as npm failed"
	@touch $@

# ------------------------------------------------------------------------------------------------------------ faults

CHAOS_ARGS ?= --kills 500 --seed 1 --workers 2

chaos: $(VENV)/.dev  ## Kill workers 500 times under load and audit every journal (CHAOS_ARGS='--store … --kills … --seed …')
	$(BIN)/python -m tests.faults.chaos $(CHAOS_ARGS)

# ------------------------------------------------------------------------------------------------------------- setup

# -I keeps environment and current folder out. Debian splits ensurepip from python3: say which package brings it.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null \
	  || { echo "$(PYTHON) is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "replay needs Python 3.11 or newer, not $$($(PYTHON) -V): make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -I -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

PIP  = $(BIN)/python -m pip install --quiet --require-hashes --only-binary :all:
UV   = $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --only-binary :all:
# Editable, offline: dependencies and build backend are there already. What a plugin needs is in pyproject's group dev.
LINK = $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index

# pip for the demo: some fifteen small packages are not worth another tool.
$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "make: setting up .venv (once)"
	@$(PIP) -r requirements/run.txt
	@$(LINK) -e .
	@touch $@

# uv for the rest: it takes seconds where pip takes a minute. pip where uv is not to be had, or cannot reach a package
# index that only pip is configured for.
$(VENV)/.dev: requirements/dev.txt requirements/uv.txt pyproject.toml $(PLUGINS:%=%/pyproject.toml) | $(BIN)/python
	@echo "make: setting up .venv for tests (once)"
	@$(PIP) -r requirements/uv.txt && $(UV) -r requirements/dev.txt || $(PIP) -r requirements/dev.txt
	@$(LINK) $(foreach distribution,. $(PLUGINS),-e ./$(distribution))
	@touch $(VENV)/.run $@

UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command 'make lock' $(LOCK_ARGS)

lock: | $(BIN)/python  ## Pin again what pyproject.toml asks for (LOCK_ARGS=--upgrade for newer versions)
	@$(PIP) -r requirements/uv.txt
	$(UV_COMPILE) pyproject.toml --all-extras --group dev -o requirements/dev.txt
	$(UV_COMPILE) pyproject.toml --group build -c requirements/dev.txt -o requirements/run.txt
	$(UV_COMPILE) --group bootstrap -c requirements/dev.txt -o requirements/uv.txt

against-lock: | $(BIN)/python  ## Pin again what benchmarks/against/requirements.in asks for
	$(UV_COMPILE) $(AGAINST)/requirements.in -o $(AGAINST)/requirements.txt

clean:  ## Remove .venv and every cache
	rm -rf $(VENV) $(AGAINST)/.venv $(AGAINST)/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo test lint types floors ci protos sdks sdk-typescript sdk-go bench bench-smoke bench-check profile growth against against-lock chaos lock clean help

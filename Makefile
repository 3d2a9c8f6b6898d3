# tellwire: everything one does with the checkout. `make` alone lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
UV ?= uv
# More for the command, such as `make demo ARGS=--keep` or `make test ARGS="tests/features -x"`.
ARGS ?=
# How long `make fuzz` goes on.
fuzz: SECONDS ?= 600
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -q
LOCK_ALONE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-annotate
LOCK := $(LOCK_ALONE) --extra embedded --extra gateway --extra train --group build

.PHONY: help setup setup-dev demo pictures test faults fuzz lint format contracts collector bench guard lock kafka kafka-jars node-packages redteam redteam-tools compose wheel clean

help: ## List what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(VENV)/.tellwire ## Install tellwire into .venv (done once, and again when the lock changes)

setup-dev: $(VENV)/.dev ## Install also what tests and checks need

demo: $(VENV)/.tellwire ## Run the whole pipeline, with a page to try it on yourself (ARGS=--help says more)
	@$(BIN)/tellwire demo $(ARGS)

pictures: $(VENV)/.dev ## Take the pictures and the recording of the demo in docs/img anew (needs Chromium)
	@$(BIN)/python -m tests.pictures $(ARGS)

test: $(VENV)/.dev ## Run all tests; what is missing is skipped and named at the end (with CI=true it fails)
	@$(BIN)/python -m pytest $(ARGS)

faults: $(VENV)/.dev ## Inject every fault of the matrix and prove what holds (ARGS="--budget ci": the short run)
	@$(BIN)/python -m tests.fault $(ARGS)

redteam: $(VENV)/.dev redteam-tools ## Attack the whole pipeline with driven browsers and forged telemetry, and write docs/reference/red-team.md (ARGS=--help; needs Chromium)
	@$(BIN)/tellwire redteam --recordings .cache/redteam --out docs $(ARGS)

redteam-tools: redteam/.venv/.stamp redteam/node_modules/.stamp ## Fetch the red team's attackers into environments of their own (once; needs npm)

fuzz: $(VENV)/.dev ## Break inputs of everything that reads bytes from outside, for SECONDS (600) in all
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

lint: $(VENV)/.dev ## Check style, types, import rules and declared dependencies
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry schemas features models stream

format: $(VENV)/.dev ## Format the code and mend what can be mended mechanically
	@$(BIN)/ruff check --fix-only -q
	@$(BIN)/ruff format

contracts: $(VENV)/.dev ## Write AsyncAPI, JSON Schemas, reference pages and dashboards anew from their declarations
	@$(BIN)/python -m schemas.contracts_cli render
	@$(BIN)/python -m stream.reference_pages render
	@$(BIN)/python -m stream.dashboards render

collector: collector/node_modules/.stamp ## Build the browser collector into collector/dist and collector/browser (needs Node.js 18, npm)
	@cd collector && npm run --silent build

bench: $(VENV)/.dev ## Measure all that bench/REPORT.md tells, beside Faust, Quix, Bytewax and the limits (ARGS=--help; needs Java 17, Maven)
	@$(BIN)/python -m bench $(ARGS)

guard: $(VENV)/.dev ## Fail when an event costs more CPU, beside plain JSON work and the hand-written loop, than is committed (ARGS=--set: commit to new ratios)
	@$(BIN)/python -m bench --guard $(ARGS)

kafka-jars: $(VENV)/.dev ## Fetch the real Apache Kafka of the tests into .cache (once; needs Java 17 and Maven)
	@$(BIN)/python -m tests.support.kafka --fetch

node-packages: tests/node/node_modules/.stamp ## Fetch what the documentation's program for Node.js needs (once; needs npm)

kafka: $(VENV)/.dev ## Run a real Apache Kafka on a localhost port until Ctrl-C (needs Java 17 and Maven)
	@$(BIN)/python -m tests.support.kafka $(ARGS)

compose: ## Have compose-go itself check docker-compose.yml (needs Go 1.24)
	@found=$$(go env GOVERSION 2>/dev/null || echo "go0 (none)"); printf 'go1.24\n%s\n' "$$found" | sort -V -C || \
	  { echo "compose-go needs Go 1.24 or newer, here is $$found: install it, or leave this check to who has it"; exit 1; }
	@COMPOSE_PROFILES=all go run github.com/compose-spec/compose-go/v2/cmd@v2.16.2 docker-compose.yml >/dev/null

wheel: $(VENV)/.tellwire ## Build the wheel into dist/
	@$(BIN)/python -m hatchling build -t wheel

lock: ## Resolve the dependencies of pyproject.toml anew (needs uv)
	@$(LOCK) pyproject.toml -o requirements/run.txt
	@$(LOCK) --group dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	@for name in bench-bytewax bench-faust bench-profiler bench-quix redteam; do \
	  $(LOCK_ALONE) --group $$name -o requirements/$$name.txt; \
	done

clean: ## Remove caches and build results; .venv and fetched Kafka jars stay
	@rm -rf dist build collector/dist collector/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Any Python from 3.11 on will do; `python3 -m venv` is a package of its own on Debian.
$(BIN)/python:
	@for python in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Setting up $(VENV) with $$("$$python" --version)"; \
	    if "$$python" -m venv $(VENV); then exit 0; fi; \
	    rm -rf $(VENV); \
	    echo "$$python cannot make virtual environments: install its venv package (Debian: python3-venv)" >&2; exit 1; \
	  fi; \
	done; \
	echo "tellwire needs Python 3.11 or newer and none was found on PATH" >&2; exit 1

# Stamps: each step is done once, and again when what it was made from changes.
$(VENV)/.run: requirements/run.txt | $(BIN)/python
	@echo "Installing what requirements/run.txt names (once; a minute or two)"
	@$(PIP) install --require-hashes --no-deps -r requirements/run.txt
	@touch $@

$(VENV)/.tellwire: pyproject.toml $(VENV)/.run
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@echo "Compiling kernels (once; half a minute)"
	@$(BIN)/tellwire warm-up
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.tellwire
	@echo "Installing what requirements/dev.txt adds (once)"
	@$(PIP) install --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

collector/node_modules/.stamp: collector/package-lock.json
	@echo "Installing what builds the collector (once)"
	@cd collector && npm ci --silent
	@touch $@

tests/node/node_modules/.stamp: tests/node/package-lock.json
	@echo "Installing what the documentation's Node.js program needs (once)"
	@cd tests/node && npm ci --silent
	@touch $@

redteam/.venv/.stamp: requirements/redteam.txt | $(BIN)/python
	@echo "Installing what requirements/redteam.txt names into redteam/.venv (once)"
	@rm -rf redteam/.venv && $(BIN)/python -m venv redteam/.venv
	@redteam/.venv/bin/python -m pip --disable-pip-version-check --no-input -q install --require-hashes --no-deps -r requirements/redteam.txt
	@touch $@

redteam/node_modules/.stamp: redteam/package-lock.json
	@echo "Installing the red team's attackers for Node.js (once)"
	@cd redteam && npm ci --silent
	@touch $@

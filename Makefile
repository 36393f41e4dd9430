# outsample: every command sets up .venv first and works from a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHARED := benchmarks/common.py benchmarks/cumulants_report.py benchmarks/depth_ideas.py \
	benchmarks/catastrophe_nets.py benchmarks/catastrophe_residual.py benchmarks/catastrophe_tasks.py
BENCHMARKS := $(filter-out $(SHARED),$(wildcard benchmarks/*.py))
# Tests run in parallel, each worker on one thread; a few workers are plenty.
WORKERS := -n auto --maxprocesses 4

.DEFAULT_GOAL := help
.NOTPARALLEL: # benchmarks would disturb each other, and pytest's closing line comes last
.PHONY: help setup demo catastrophe test test-slow bench docs clean $(BENCHMARKS)

help: ## list the commands
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: $(STAMP) ## create .venv with everything pinned in constraints.txt

demo: setup ## train a network on digits, estimate its outputs, print a table, write out/demo
	$(BIN)/outsample demo --output out/demo

catastrophe: setup ## a 3 called an 8: estimated below 1e-10 and trained away; writes out/catastrophe
	$(BIN)/outsample catastrophe demo --output out/catastrophe

test: setup ## lint, format check, types, layering, then the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/pytest $(WORKERS)

test-slow: setup ## the tests that take minutes
	$(BIN)/pytest $(WORKERS) -m slow

bench: setup $(BENCHMARKS) ## run every script in benchmarks/ (one of them: make benchmarks/NAME.py)

$(BENCHMARKS): setup
	$(BIN)/python $@

docs: setup ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove caches, figures and builds (the environment stays: rm -rf .venv)
	rm -rf out site build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first: pinned, it is one known file; an open range may fetch gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: outsample needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)."; \
	  echo "      Name another one: make PYTHON=python3.12 $(or $(MAKECMDGOALS),setup)"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' cannot create environments: its venv or ensurepip module is missing."; \
	  echo "      On Debian and Ubuntu: apt-get install python3-venv"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

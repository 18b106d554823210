# Every target works from a fresh clone: `make quickstart` sets up first what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Where pip also looks for torch; the CPU wheels are a tenth of the size:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

# Tests side by side, those of a file one after another; SIDE_BY_SIDE= runs one at a time.
SIDE_BY_SIDE ?= -n logical --maxprocesses=8 --dist=loadfile

# SIZE=tiny shows in a minute that everything works. The README test reads these lines too.
SIZE ?= full
TINY_collect = scenario=genomics_tiny collector.runs=2
TINY_train = algo.n_steps=300
TINY_leaderboard = suite=quick
TINY_evaluate = suite=quick

ifneq ($(SIZE),full)
ifneq ($(SIZE),tiny)
$(error SIZE is '$(SIZE)'; choose from: full, tiny)
endif
endif
tiny = $(if $(filter tiny,$(SIZE)),$(TINY_$(1)))

.PHONY: help setup quickstart test browser check lint bench datasets clean

help: ## show this list
	@echo "make <target> [PYTHON=python3.12] [SIZE=tiny] [TORCH_INDEX=<url>]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(READY) ## install everything into .venv, at the versions of constraints.txt
	@echo "==> setup: ready, use $(BIN)/toolkit or: source $(BIN)/activate"

$(READY): pyproject.toml constraints.txt
	@rm -f $@
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	  echo "setup: Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1 | head -1); try: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "==> setup: creating $(VENV) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv --clear $(VENV); }
	@echo "==> setup: installing the toolkit and its dependencies (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -e '.[ray,spark,gpu,optimum,minari,dev]'
	@touch $@

quickstart: $(READY) ## record, learn, compare: the whole way once (SIZE=tiny for a first look)
	@echo "==> quickstart 1/3: record what Ray does under known schedulers"
	$(BIN)/toolkit collect $(call tiny,collect)
	@echo "==> quickstart 2/3: learn a policy from the record"
	$(BIN)/toolkit train +algo=cql $(call tiny,train)
	@echo "==> quickstart 3/3: compare it with the heuristics"
	$(BIN)/toolkit leaderboard $(call tiny,leaderboard)

# The board's page is tested in a real Chromium. Without apt-get, root or a network those tests
# are skipped and say so; CHROMIUM=<program> names one that lies elsewhere.
browser:
	@if [ -n "$${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome \
	    google-chrome-stable >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "==> test: installing Chromium for the tests of the board's page"; \
	  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
	      --no-install-recommends chromium >/dev/null; } || \
	    echo "==> test: no Chromium; the tests of the board's page are skipped"; \
	else echo "==> test: no Chromium; the tests of the board's page are skipped"; fi

test: $(READY) browser ## the tests that take seconds
	@echo "==> test: everything but the slow tests and the promises of the README"
	$(BIN)/python -m pytest -m "not slow and not check and not engine" $(SIDE_BY_SIDE)
	@echo "==> test: those that start an engine, one by one"
	$(BIN)/python -m pytest -m "engine and not slow and not check"

check: $(READY) ## the README's commands, the quick suites, an installed wheel
	@echo "==> check: README at tiny size, quick suites and experiments, wheel in a venv of its own"
	$(BIN)/python -m pytest -m check $(SIDE_BY_SIDE)

lint: $(READY) ## ruff and mypy
	@echo "==> lint: ruff check"
	$(BIN)/ruff check .
	@echo "==> lint: ruff format"
	$(BIN)/ruff format --check .
	@echo "==> lint: mypy"
	$(BIN)/mypy

bench: $(READY) ## speed of the hot paths
	@echo "==> bench"
	$(BIN)/python -m tests.bench

datasets: $(READY) ## the full benchmark datasets, a million decisions each, and their cards
	@echo "==> datasets: some minutes each"
	@$(BIN)/toolkit dataset list what=benchmarks format=json | $(BIN)/python -c \
	  'import json, sys; print(*(b["id"] for b in json.load(sys.stdin)["benchmarks"]), sep="\n")' | \
	while read -r id; do \
	  $(BIN)/toolkit dataset build id=$$id && $(BIN)/toolkit dataset verify id=$$id || exit 1; \
	done

clean: ## remove caches and build outputs; keeps .venv and everything you made
	@echo "==> clean"
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

# Needs Python 3.11 and make, nothing else. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo backfill-demo up test test-fast coverage mutate screenshots lint bench bench-serve evaluate-real false-alarms clean

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Install the pinned packages into .venv (again when their list changes)

# The stamp comes last: an install that was interrupted is done again from an empty folder.
$(INSTALLED): pyproject.toml constraints.txt
	@for candidate in $${PYTHON:-} python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
	  then python=$$candidate; break; fi; \
	done; \
	if [ -z "$${python:-}" ]; then \
	  echo "Python 3.11 with its venv module is needed and was not found." >&2; \
	  echo "What to do: install it (Debian: python3.11-venv), or run: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	echo "Installing the pinned packages into $(VENV) with $$python; a few minutes the first time."; \
	SECONDS=0; \
	"$$python" -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	echo "Installed in $$SECONDS s."
	@touch $@

demo: $(INSTALLED) ## SYNTHETIC: data, model bundle, Airflow, one month published; a second run changes nothing
	@$(BIN)/python scripts/demo.py

backfill-demo: $(INSTALLED) ## SYNTHETIC: 22 months by `airflow backfill create`, minutes; continues where it was stopped
	@$(BIN)/python scripts/backfill_demo.py

up: $(INSTALLED) ## SYNTHETIC: Airflow with the demo's bundle in the foreground; Ctrl-C stops it
	@$(BIN)/python scripts/up.py

# Tests that start Airflow use both cores by themselves; all others run side by side, one file in one process.
test: $(INSTALLED) ## All tests; fails below the floor of coverage in pyproject.toml
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not e2e" --cov --cov-report=
	@$(BIN)/python -m pytest -m e2e

test-fast: $(INSTALLED) ## Tests that need neither training nor the four Airflow processes
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not slow and not e2e"

coverage: $(INSTALLED) ## Branch coverage of all tests but e2e; fails below the floor in pyproject.toml
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not e2e" --cov --cov-report=term

mutate: $(INSTALLED) ## Change the modules that handle money line by line, and list what no test notices
	@$(BIN)/mutmut run
	@$(BIN)/mutmut results

screenshots: $(INSTALLED) ## The pictures in docs/images, taken by the tests in a real Chromium
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser

lint: $(INSTALLED) ## Linter, formatter, types, layers of imports, spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell

bench: $(INSTALLED) ## SYNTHETIC: time panel and scoring against the method of v0.1.0, production size
	@$(BIN)/python scripts/bench_panel.py
	@$(BIN)/python scripts/bench_panel.py --sessions 650 --months 22

bench-serve: $(INSTALLED) ## SYNTHETIC: 200 concurrent clients of `apex serve`, production size
	@$(BIN)/python scripts/bench_serve.py

evaluate-real: $(INSTALLED) ## Real US prices 2007-2016 (fetched by pip, never shipped): train on 2007-2011, trade after
	@$(BIN)/python scripts/evaluate_real.py

false-alarms: $(INSTALLED) ## SYNTHETIC: how often judgements of the live performance alarm on nothing; minutes
	@$(BIN)/python scripts/false_alarms.py

clean: ## Remove the demo's folder and all caches; .venv stays
	@rm -rf .demo .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

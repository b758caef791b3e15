# Recipes for people and for CI. Every recipe sets up what it needs; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := .venv-lambda
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadgroup
PYTHON ?= $(shell sh tools/find-python)
# The tests and the demo must not meet the caller's own account, and never write byte code into what is shipped.
export PYTHONDONTWRITEBYTECODE := 1
# Behind a company's proxy the registries are signed by what the machine trusts, not by what a package brings.
export UV_SYSTEM_CERTS := 1
export NODE_USE_SYSTEM_CA := 1

.PHONY: help setup demo test long check lint types layers mutants bench lock clean

help: ## list the recipes
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready $(RUNTIME)/.ready node_modules/.ready ## make the environment: Python packages, the Lambda runtime's packages, Node and the CDK CLI

demo: setup ## deploy Lowtide into the local AWS and run real jobs on (local) spot instances
	@$(BIN)/lowtide demo

test: setup ## run the whole test suite
	@$(BIN)/python tools/prebuild.py
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

long: setup ## run the tests of the deployed whole that take minutes each
	@$(BIN)/python tools/prebuild.py
	@$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

check: setup lint types layers ## lint, types and import layers

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright
	$(BIN)/pyright --project worker

layers: setup
	$(BIN)/lint-imports

mutants: setup ## break each law in turn and see its test fail
	$(BIN)/python -m tests.mutants

bench: setup ## run the benchmarks; LOWTIDE_BENCH_MESSAGES=100000 makes the flood as large
	$(BIN)/python -m lowtide.bench

lock: $(VENV)/.ready ## make the pinned requirement files anew from pyproject.toml
	$(BIN)/python tools/lock.py

clean: ## remove everything that setup and the tests made
	rm -rf $(VENV) $(RUNTIME) .venv-bench node_modules cdk.out .lowtide .pytest_cache .ruff_cache *.egg-info

$(VENV)/.ready: requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || exit 1
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "Python's venv module is missing: install it (Debian: python3-venv) and run make again." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# What AWS's Python runtime has beside a function's zip: functions run in this and nothing else.
$(RUNTIME)/.ready: requirements/lambda-runtime.txt $(VENV)/.ready
	@echo "Making $(RUNTIME)"
	@$(BIN)/python -m venv --clear --without-pip $(RUNTIME)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(RUNTIME)/bin/python --require-hashes -r requirements/lambda-runtime.txt \
	  || $(BIN)/python -m pip --python $(RUNTIME)/bin/python install --quiet --require-hashes -r requirements/lambda-runtime.txt
	@touch $@

node_modules/.ready: package.json package-lock.json $(VENV)/.ready
	@echo "Installing the CDK command line"
	@$(BIN)/python tools/npm.py ci --loglevel=error
	@touch $@

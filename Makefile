# What people and CI type. Needs Python 3.11+ and its venv module; deploy/install.sh brings the rest.
.DEFAULT_GOAL := help
.PHONY: help run demo test check fmt clean packages servers

BIN := .venv/bin

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: servers ## Start everything here: Kafka, PostgreSQL, Valkey and all roles. Ctrl-C stops them, .run/ keeps the data
	@exec $(BIN)/clusterflow all

demo: servers ## See the control plane at work on an example
	@exec $(BIN)/python -m examples.demo

test: servers check ## All checks, then all tests, against real servers
	$(BIN)/pytest

check: packages ## Style, types and import directions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy .
	$(BIN)/lint-imports

fmt: packages ## Format the code and repair what can be repaired
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove .venv and caches; the data in .run/ stays
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@deploy/install.sh

servers:
	@deploy/install.sh --servers

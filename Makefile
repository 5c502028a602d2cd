# What people and CI type. Needs Python 3.11+ and its venv module; deploy/install.sh brings the rest.
.DEFAULT_GOAL := help
.PHONY: help run demo test chaos chaos-long check fmt clean packages servers faults bench bench-quick bench-check

BIN := .venv/bin

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: servers ## Start everything here: Kafka, PostgreSQL, Valkey and all roles. Ctrl-C stops them, .run/ keeps the data
	@exec $(BIN)/clusterflow all

demo: servers ## See the control plane at work on an example
	@exec $(BIN)/python -m examples.demo

test: servers faults check ## All checks, then all tests, against real servers
	$(BIN)/pytest

chaos: servers faults ## One run with every kind of fault under load; SEED=… has one again, BROKERS=3 has three
	$(BIN)/python -m tests.chaos run $(if $(SEED),--seed $(SEED)) $(if $(BROKERS),--brokers $(BROKERS))

chaos-long: servers faults ## Ten seeds, at least 20 faults and 10,000 operations each; about an hour and a half
	$(BIN)/python -m tests.chaos long $(if $(SEED),--seed $(SEED)) $(if $(BROKERS),--brokers $(BROKERS))

bench: servers faults ## Every measurement, each beside a limit or a peer; about 15 minutes
	$(BIN)/python -m bench

bench-quick: servers faults ## The main ratios in 90 seconds; fails below half of bench/baseline.json
	$(BIN)/python -m bench.quick

bench-check: servers faults ## The same before a review; fails below 0.8 of it
	$(BIN)/python -m bench.quick --least 0.8

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

faults:
	@deploy/install.sh --faults

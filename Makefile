# Two commands do everything on a fresh machine with Python >= 3.11: `make sweep` and `make test`.
.DEFAULT_GOAL := help
BIN := .venv/bin

.PHONY: help install sweep dashboard test test-all lint check bench clean

help:  ## Show what make offers
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: .venv/.installed  ## Create .venv and install everything, pinned by constraints.txt

.venv/.installed: pyproject.toml constraints.txt scripts/install
	scripts/install
	@touch $@

sweep: install  ## Run examples/quickstart.yaml on this machine and print the leaderboard
	$(BIN)/s4sweep run examples/quickstart.yaml

dashboard: install  ## Open the MLflow dashboard of this machine's sweeps on 127.0.0.1
	$(BIN)/s4sweep dashboard

test: install  ## Run the default tests (minutes)
	scripts/test

test-all: install  ## Run every test, the slow ones too
	scripts/test --all

lint: install  ## Format and fix what a tool can fix
	scripts/lint

check: install  ## Check format, lint and types, changing nothing
	scripts/check

bench: install  ## Run the benchmarks of benchmarks/README.md
	scripts/bench

clean:  ## Delete .venv and every cache of the tools
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Works with GNU make 3.81 and newer, on Debian and macOS, with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench format clean real-servers

help: ## Show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.runs ## Move a small real image from registry to archive to layout to registry
	@$(BIN)/python examples/demo.py

test: $(VENV)/.develops real-servers ## Run all tests
	$(BIN)/python -m pytest -n auto --dist loadgroup $(PYTEST_ARGS)

lint: $(VENV)/.develops ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.develops real-servers ## Measure beside the peers that are on the PATH (as root on Debian it installs servers)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' -c constraints.txt
	$(BIN)/python -m bench $(BENCH_ARGS)

format: $(VENV)/.develops ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The programs that tests of real servers need. Elsewhere those tests say what they miss.
real-servers:
	@sh scripts/install-real-servers.sh

$(VENV)/.made:
	@sh scripts/make-venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(VENV)/.runs: $(VENV)/.made pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . -c constraints.txt
	@touch $@

$(VENV)/.develops: $(VENV)/.made pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@ $(VENV)/.runs

clean: ## Remove what was built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov

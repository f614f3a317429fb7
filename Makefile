# What a person types here. Each target does its own set-up in .venv: it needs python3 >= 3.11 and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
UV := $(BIN)/uv

# Tests mostly wait for processes that they start, so two run side by side on one core, too; PROCESSES=0 is one after the other.
PROCESSES ?= 2
PYTEST := -m pytest --numprocesses $(PROCESSES) --dist loadscope --no-loadscope-reorder

.PHONY: help run test test-gpu coverage lint format docs docs-site bench test-lowest constraints pocket clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(BIN)/.installed  ## evaluate: make run [MODEL=ViT-B/32] [TASKS=all] [DATA=folder] [ARGS='--limit 100']
	@$(BIN)/evalsuite run $(if $(MODEL),--model '$(MODEL)') $(if $(TASKS),--tasks '$(TASKS)') $(if $(DATA),--data-root '$(DATA)') $(ARGS)
	@$(if $(MODEL),,echo "So that this shell finds evalsuite by its name alone:"; echo "  . $(BIN)/activate")

test: $(BIN)/.installed-dev  ## the test suite; no network, under ten minutes on two cores
	$(BIN)/python $(PYTEST) $(ARGS)

coverage: $(BIN)/.installed-dev  ## the test suite, and how much of each file its own processes ran
	$(BIN)/python $(PYTEST) --cov $(ARGS)

test-gpu: $(BIN)/.installed-dev  ## the tests that need a GPU
	$(BIN)/python -m pytest -m gpu $(ARGS)

lint: $(BIN)/.installed-dev  ## ruff, ruff format, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(BIN)/.installed-dev  ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(BIN)/.installed-dev  ## write docs/datasets, one page per task, docs/families.md and docs/figures.md again
	$(BIN)/evalsuite describe '*' --output docs/datasets
	$(BIN)/python -m tests.models.families --to docs/families.md
	$(BIN)/python -m tests.report.figures_page --write

docs-site: $(BIN)/.installed-dev  ## the documentation as a site, in build/site; every link is checked
	$(BIN)/python -m mkdocs build --strict $(ARGS)

bench: $(BIN)/.installed-dev  ## speed, as ratios measured side by side
	$(BIN)/python -m benchmarks.probe $(ARGS)

test-lowest: $(LOWEST)/bin/.installed  ## the test suite on the lowest versions the project claims
	$(LOWEST)/bin/python $(PYTEST) $(ARGS)

constraints: $(UV)  ## resolve the versions again
	$(UV) pip compile -q --universal --all-extras --no-annotate --no-header --upgrade pyproject.toml -o constraints.txt
	$(UV) pip compile -q --universal --extra dev --resolution lowest-direct --no-annotate --no-header --upgrade \
		--python-version 3.11 pyproject.toml -o constraints-lowest.txt

pocket: $(BIN)/.installed-dev  ## train the pocket model again (minutes)
	$(BIN)/python -m training.pocket.train --output build/pocket $(ARGS)

clean:  ## remove the environments and caches of tools; results stay
	rm -rf $(VENV) $(LOWEST) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(UV):
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed (on Debian: apt install python3-venv)"; exit 1; }
	@$(BIN)/python -m pip install -q 'uv>=0.5'

$(BIN)/.installed: pyproject.toml constraints.txt | $(UV)
	@echo "Installing into $(VENV) ..."
	@$(UV) pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e .
	@touch $@

$(BIN)/.installed-dev: pyproject.toml constraints.txt | $(UV)
	@echo "Installing into $(VENV), with what the tests need ..."
	@$(UV) pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@ $(BIN)/.installed

$(LOWEST)/bin/.installed: pyproject.toml constraints-lowest.txt | $(UV)
	@echo "Installing the lowest versions into $(LOWEST) ..."
	@$(UV) venv -q --allow-existing --python $(BIN)/python $(LOWEST)
	@$(UV) pip install -q --compile-bytecode --python $(LOWEST)/bin/python -c constraints-lowest.txt -e '.[dev]'
	@touch $@

# Everything that a person or CI does with this repository, one verb each. `make` alone lists the verbs.
# Needs Python 3.11+ and make; whatever else is wanted goes into .venv, at the versions in constraints.txt.

PYTHON ?= python3
DEMO_PORT ?= 8000

VENV := .venv
BIN := $(VENV)/bin
STEP := $(BIN)/python scripts/step.py
PIP := $(BIN)/python -m pip --no-input --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-check test soak check docs bench pins clean
.NOTPARALLEL:           # two installations at once into one .venv would break it
.DELETE_ON_ERROR:

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/installed-examples ## train a small model, serve it on port 8000 (DEMO_PORT), show how to ask it
	@$(BIN)/python scripts/demo.py serve --port $(DEMO_PORT) --workspace demo

demo-check: $(VENV)/installed-examples ## the demo without a person: free port, one question, clean stop
	@$(STEP) "running the demo from nothing" $(BIN)/python scripts/demo.py check

test: $(VENV)/installed-dev ## run all tests but the long ones
	@$(STEP) "looking for the servers that the tests start" $(BIN)/python scripts/system_packages.py
	@$(STEP) "running the tests" $(BIN)/python -m pytest -n auto -m "not soak"

soak: $(VENV)/installed-dev ## run the long fault and load tests
	@$(STEP) "looking for the servers that the tests start" $(BIN)/python scripts/system_packages.py
	@$(STEP) "running the long tests" $(BIN)/python -m pytest -m soak

check: $(VENV)/installed-dev ## format, lint, types, import arrows
	@$(STEP) "checking the format" $(BIN)/ruff format --check .
	@$(STEP) "linting" $(BIN)/ruff check .
	@$(STEP) "checking the types" $(BIN)/mypy
	@$(STEP) "checking who imports whom" $(BIN)/lint-imports --no-logo

docs: $(VENV)/installed-docs ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(STEP) "building the documentation" $(BIN)/mkdocs build --quiet --strict --site-dir site

bench: $(VENV)/installed-bench ## measure, side by side with others (half an hour)
	@$(STEP) "looking for the programs that make the load" $(BIN)/python scripts/system_packages.py benchmarks
	@$(STEP) "measuring" $(BIN)/python -m bench $(BENCH)

pins: ## remake constraints.txt from pyproject.toml (needs the package index)
	@$(PYTHON) scripts/pins.py

clean: ## remove all that these verbs made: .venv, demo, site, caches
	@rm -rf $(VENV) demo site dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per extra: touched once installed, so that the next run installs nothing unless the wishes changed.
$(VENV)/installed-%: $(VENV)/created pyproject.toml constraints.txt
	@$(STEP) "installing headrace[$*] (a minute or two when nothing is cached)" \
		$(PIP) install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@

$(VENV)/created:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here. Headrace needs Python 3.11 or newer:" \
		"install it, or name yours, as in 'make demo PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) scripts/create_venv.py $(VENV)
	@touch $@

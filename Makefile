# demo, serve, test: each sets up .venv by itself; Python 3.11+, make and PyPI are enough.
.PHONY: help demo serve test check setup models embedded lint docs torture browser lock sbom audit

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help:
	@echo "make demo     the main job on a real photograph, through an unmodified boto3"
	@echo "make serve    set up and serve on http://127.0.0.1:8080, data in ./data"
	@echo "make test     what CI runs: format, lint, types, arrows, tests"
	@echo "make browser  the console in Chromium; make torture  the long tests; make docs  the site"

$(STAMP): requirements-dev.lock pyproject.toml hatch_build.py src/recollect/gallery/_scan.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "recollect needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP)

models: $(STAMP)
	@$(BIN)/recollect models setup

embedded: $(STAMP)
	@$(BIN)/recollect models setup --embedded

demo: models
	@$(BIN)/python -m demo

serve: models
	@$(BIN)/recollect serve

test: check
check: embedded lint
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --ignore tests/browser
	@test -z "$$CI" || $(MAKE) --no-print-directory browser

# Playwright keeps an event loop, so its tests have a process of their own.
browser: embedded
	@$(BIN)/python -m pytest tests/browser

lint: $(STAMP)
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'mkdocs-material>=9.6'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "open site/index.html"

torture: embedded
	@$(BIN)/python -m pytest -m "slow or control" --timeout 3600 --ignore tests/browser
	@$(BIN)/python -m pytest -m slow --timeout 3600 tests/browser

# A bill of what the lock installs, as CycloneDX has it; and what is known against any of it, which
# asks a service on the net.
sbom: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7'
	@$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type application --output-reproducible -o sbom.json 2>/dev/null
	@echo "see sbom.json"

audit: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.10'
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock

lock:
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --extra dev --no-emit-package recollect pyproject.toml -o requirements-dev.lock
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --extra postgres -c requirements-dev.lock pyproject.toml -o requirements.lock

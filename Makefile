# Every verb works in a fresh clone: it sets up what it needs first. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.9
BUILD := .build
UV := $(BUILD)/uv/bin/uv
RUN := .venv/bin
NODE := $(shell command -v npm 2>/dev/null)
export UV_PYTHON_DOWNLOADS := never
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1
# Tests that read recorded market data look for it here and say so when it is absent.
export QUASAR_TEST_DATA ?= $(abspath ../shared/data)

.PHONY: help setup up test check gen web bench main-job docs clean format lock

help:  #-- list the verbs
	@awk -F ':.*#-- ' '/^[a-z-]+:.*#-- /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready  #-- create the environment (every other verb does this by itself)

up: setup web  #-- run the platform on this machine, on its own embedded database
	$(RUN)/quasar up $(ARGS)

test: setup web  #-- run all tests (ARGS="tests/unit -k name" narrows them)
	$(RUN)/pytest -n 2 --dist loadgroup $(ARGS)
ifneq ($(NODE),)
	@npm run --silent --workspace web test
endif

check: setup node_modules/.ready  #-- style, types, import rules, contract, freshness of generated files
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/buf lint
	$(RUN)/buf format --diff --exit-code --path proto/quasar > /dev/null
	$(RUN)/python scripts/breaking.py
	$(RUN)/python scripts/gen.py --check
	$(RUN)/python scripts/check_docs.py
ifneq ($(NODE),)
	@npm run --silent --workspace web check
	@npm run --silent --workspace examples/clients/typescript check
endif

gen: setup node_modules/.ready  #-- write gen/ and the API reference from proto/
	$(RUN)/python scripts/gen.py

web: node_modules/.ready  #-- build the frontend (needs Node; its absence is said)
ifeq ($(NODE),)
	@echo "Node is not installed: the web frontend is not built; everything else works without it."
else
	@if [ ! -f web/dist/index.html ] || [ -n "$$(find web/src web/index.html web/package.json web/vite.config.ts gen/typescript/src -newer web/dist/index.html -print -quit 2>/dev/null)" ]; then npm run --silent --workspace web build; fi
endif

bench: setup  #-- measure against peers and limits (ONLY=live runs one group)
	@$(UV) sync --quiet --frozen --group bench
	$(RUN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

main-job: setup  #-- the main job end to end on recorded data: collect, stream, back-test, trade on paper
	$(RUN)/python -m scripts.main_job $(ARGS)

docs: setup  #-- check that the documentation is true: links, names of verbs and settings
	$(RUN)/python scripts/check_docs.py

format: setup  #-- format Python and the contract
	$(RUN)/ruff check --fix . && $(RUN)/ruff format . && $(RUN)/buf format -w

lock: setup  #-- resolve the dependencies anew
	$(UV) lock

clean:  #-- remove what the verbs made; the platform's data stays
	rm -rf $(BUILD) .venv node_modules web/dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Quasar needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(BUILD)/uv
	@$(BUILD)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.ready: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --quiet --frozen --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

node_modules/.ready: package.json package-lock.json web/package.json gen/typescript/package.json examples/clients/typescript/package.json
ifeq ($(NODE),)
	@echo "Node is not installed: the web part is left out."
else
	@npm ci --silent --no-audit --no-fund 2>/dev/null || npm ci --no-audit --no-fund
	@touch $@
endif

# Three commands matter: `make serve`, `make quick` for every change, `make test` before it lands. They build .venv
# first, from pinned and hashed requirements.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SYSTEMS ?=
CLIENTS := 5.0 5.8 sync
# The folders whose tests start no server.
UNIT := tests/concurrency tests/protocol tests/contract

.DEFAULT_GOAL := help
.PHONY: help serve quick test screenshots check clients docs bench lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: $(VENV)/serve.stamp ## Start the server and say what to do next (SYSTEMS="quotes" picks systems)
	@$(BIN)/oyez serve $(SYSTEMS)

quick: check ## For every change: style, types, layers and unit tests (no Node, no C compiler)
	$(BIN)/pytest --quiet --numprocesses 2 $(UNIT)

test: check clients tests/js/node_modules/.package-lock.json ## Everything: style, types, layers and all tests
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder || { \
	  [ $$? -eq 1 ] || exit 1; \
	  echo "Some tests failed beside others. They run once more, alone: what passes now depends on time, and is to be mended."; \
	  $(BIN)/pytest --last-failed --last-failed-no-failures none; }

screenshots: $(VENV)/dev.stamp tests/js/node_modules/.package-lock.json ## The pages in light, dark and on a phone, into build/screenshots
	SCREENSHOTS=$(CURDIR)/build/screenshots $(BIN)/pytest -q tests/web

check: $(VENV)/dev.stamp ## Style, types and layers only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clients: $(CLIENTS:%=$(VENV)/clients/%.stamp) ## Old versions of python-socketio, which the tests drive

docs: $(VENV)/dev.stamp ## Build the documentation site into build/docs
	$(BIN)/sphinx-build -q -W --keep-going -c tools/docs . build/docs
	@echo "Open build/docs/index.html in a browser."

bench: $(VENV)/dev.stamp bench/peers/node_modules/.package-lock.json bench/build/better-sqlite3.stamp ## Measure Oyez beside its peers and write docs/benchmarks.md
	$(BIN)/python -m bench

# Compiled with the headers that come with Node: nothing is loaded but what the lock file pins.
bench/build/better-sqlite3.stamp: bench/peers/node_modules/.package-lock.json
	@echo "Compiling better-sqlite3 for the benchmark (about a minute, first run only) ..."
	@npm_config_nodedir=$$(node -p "path.dirname(path.dirname(process.execPath))") npm_config_build_from_source=true \
	  npm --prefix bench/peers rebuild --silent better-sqlite3
	@mkdir -p $(@D) && touch $@

lock: $(VENV)/dev.stamp ## Renew the pinned requirements from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group build --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements-dev.txt
	$(BIN)/uv pip compile pyproject.toml --extra postgresql --extra tracing --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o deploy/requirements.txt

clean: ## Remove what the commands above built
	rm -rf $(VENV) tests/js/node_modules bench/peers/node_modules bench/clients/node_modules bench/build build/docs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The stamps let a second run start at once; a changed requirements file installs again.
$(VENV)/serve.stamp: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing Oyez into $(VENV) (first run only) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV) (first run only) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@ $(VENV)/serve.stamp

# Each version in a folder of its own: they would replace each other.
$(VENV)/clients/%.stamp: tests/clients/python/%.txt | $(VENV)/dev.stamp
	@echo "Installing the clients of $< into $(VENV)/clients/$* (first run only) ..."
	@rm -rf $(VENV)/clients/$*
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps --target $(VENV)/clients/$* -r $<
	@touch $@

%/node_modules/.package-lock.json: %/package-lock.json
	npm --prefix $* ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

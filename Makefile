# make demo          set up, run the quickstart notebook, open it in JupyterLab and print the address
# make demo OPEN=0   the same without opening it
# make test          set up, then run every check and test, in two processes (WORKERS=4: in four)
# make test-all      the same with every case of the laws that are tried on all types of models: twice the time
# Nothing is asked; what is already set up is not set up again.

PYTHON ?= python3
OPEN ?= 1
WORKERS ?= 2
BIN := .venv/bin
BUNDLE := lmtt_widget/static/widget.js
JS_SOURCES := $(shell find js/src js/*.mjs -type f 2> /dev/null) package.json

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup chromium demo test test-all lint types js-test pytest shots versions clean

help:
	@sed -n 's/^# //p' Makefile | head -5

setup: .venv/.installed $(BUNDLE)

.venv/.installed: pyproject.toml constraints.txt hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, got " + sys.version.split()[0])'
	@echo "installing the Python packages of constraints.txt into .venv"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	# JupyterLab starts a CommonJS file of its own with Node, which would take it for a module of this package.json.
	echo '{}' > .venv/package.json
	# torch by its exact version first: a looser request may bring gigabytes of CUDA.
	$(BIN)/python -m pip install -qq -c constraints.txt "$$(grep '^torch==' constraints.txt)" hatchling editables
	$(BIN)/python -m pip install -qq -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

node_modules/.installed: package.json package-lock.json
	@command -v npm > /dev/null || { echo "npm was not found: install Node 20 or newer"; exit 1; }
	npm ci --no-audit --no-fund < /dev/null
	touch $@

$(BUNDLE): node_modules/.installed $(JS_SOURCES)
	npm run build
	touch $@

# Never fails: without a Chromium the browser tests fail, with the sentence that is printed here.
chromium:
	@if command -v "$${CHROMIUM:-chromium}" > /dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2> /dev/null; then as_root="sudo"; \
	else echo "No Chromium was found and it cannot be installed without root: apt-get install chromium"; exit 0; fi; \
	echo "installing Chromium"; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ $$as_root apt-get update -qq && $$as_root apt-get install -y -qq chromium; } < /dev/null \
	|| echo "Chromium could not be installed: apt-get install chromium"

demo: setup chromium
	OPEN=$(OPEN) $(BIN)/python notebooks/demo.py

test: lint types js-test pytest

test-all: export PYTEST_ADDOPTS := --all
test-all: test

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy

js-test: node_modules/.installed
	npm run check
	npm test

# A file's tests stay together, in order; threads would only be in the way of the other workers.
pytest: setup chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

shots: setup chromium
	$(BIN)/python -m tests.browser.shots

# The engine's tests on other versions of Python and transformers: minutes each, gigabytes on disk.
versions: setup
	$(BIN)/python -m tests.versions

clean:
	rm -rf .venv .versions node_modules lmtt_widget/static dist build shots .demo

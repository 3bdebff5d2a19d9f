# Each target is complete from a bare Python 3.11 or newer: it makes the environment
# in $(VENV), installs the tested versions and does its work. A second call is quick.
#
#   make tweets                                  the main job
#   make tweets ARGS="--data my/folder --seed 1" the same with flags
#   make test                                    lint, types, tests
#   make docs                                    the pages of docs/, into build/docs
#   make PYTHON=python3.12 VENV=.venv312 test    another Python

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PIP_FLAGS ?=
ARGS ?=

RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip install --quiet $(PIP_FLAGS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help tweets test check docs clean

help:
	@sed -n 's/^#   //p' Makefile

tweets: $(VENV)/.installed
	$(RUN) -m kbert.recipes.tweets $(ARGS)

test: check
	$(RUN) -m pytest $(ARGS)

check: $(VENV)/.installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# A broken link is an error; --quiet would hide it from --strict.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

# torch goes first and alone, so that the build asked for (a CPU build, say, named
# by TORCH and PIP_FLAGS) is there before anything else would choose one.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "kbert needs Python 3.11 or newer; run make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$(TORCH)"
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) -e ".[embedded]"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) -e ".[embedded,docs]"
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e ".[embedded,test]"
	@touch $@

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

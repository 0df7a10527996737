# Two commands on a fresh machine (Python 3.11+, git, make, a C++ compiler):
#   make demo    set up .venv, run the whole pipeline on the embedded default, show the results
#   make test    set up .venv, run the tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
export PATH := $(abspath $(BIN)):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: help demo test docs site torture lint audit bench compare setup clean tiny-clip

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

setup: $(READY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "wildseg needs Python 3.11 or newer; set PYTHON=python3.12, say"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing wildseg and PyTorch into $(VENV): some 5 GB, a few minutes, once."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(READY_DEV): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	dvc repro
	@wildseg summary

# Each of two to four processes takes one file after the other, in the order of tests/conftest.py. One file, or one process:
# .venv/bin/python -m pytest tests/core/test_files.py
test: $(READY_DEV)
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Write docs/api.md from the docstrings of the public API; a test says when it is out of date.
docs: $(READY_DEV)
	$(BIN)/python docs/api.py

# Write the documentation to site/, as pages that load nothing from elsewhere; a warning is an error (mkdocs.yml).
site: $(READY_DEV)
	$(BIN)/python -m mkdocs build

# Kill `dvc repro` at random moments of every stage in turn, KILLS times; an hour or more.
KILLS ?= 200
torture: $(READY_DEV)
	WILDSEG_KILLS=$(KILLS) $(BIN)/python -m pytest tests/pipeline/test_kill.py

lint: $(READY_DEV)
	ruff format --check . && ruff check . && mypy

# Compare the versions of constraints.txt with known vulnerabilities; needs the network. Strict: what cannot be looked up
# is a failure, since pip-audit by itself would say that nothing was found.
audit: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip-audit
	$(BIN)/python -m pip_audit --strict --no-deps --disable-pip -r constraints.txt

bench: $(READY_DEV)
	$(BIN)/python -m benchmarks

# Measure every CAM method anew, quality and cost, after a `dvc repro`; this machine should have nothing else to do. The
# stage is frozen, so that the table in git stays until it is asked for.
compare: $(READY)
	dvc unfreeze metrics/methods/dvc.yaml:compare
	dvc repro --force --single-item metrics/methods/dvc.yaml:compare; status=$$?; dvc freeze metrics/methods/dvc.yaml:compare; exit $$status

# Teach the embedded CLIP again from its recipe (about an hour on two cores). Never done unasked: its stage is frozen.
tiny-clip: $(READY)
	dvc unfreeze models/tiny_clip/dvc.yaml:tiny_clip
	dvc repro --force --single-item models/tiny_clip/dvc.yaml:tiny_clip; status=$$?; dvc freeze models/tiny_clip/dvc.yaml:tiny_clip; exit $$status

clean:
	rm -rf $(VENV)

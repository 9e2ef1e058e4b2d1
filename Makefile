# Everything the project does from a shell. Each target makes the environment it needs by itself.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
export MKL_NUM_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test lab lint lock

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## create the environment: the locked packages and this one, editable

demo: $(VENV)/.installed  ## see all tasks predicted for one image, in a minute or so on a CPU
	$(BIN)/python -m mtlora_lite demo

test: $(VENV)/.installed  ## run the tests
	$(BIN)/python -m pytest -q tests

lab: $(VENV)/.installed  ## open JupyterLab
	$(BIN)/jupyter lab

lint: $(VENV)/.installed  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# uv keeps the pins that are still allowed; delete requirements.lock first to take the newest of everything.
lock: $(BIN)/uv  ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --quiet --no-annotate --universal --fork-strategy fewest \
	    --python-version 3.11 --custom-compile-command "make lock" --output-file requirements.lock

# Made anew only when one of its two sources changes.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --python $(BIN)/python --requirements requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# Everything the project does from a shell. Each target makes the environment it needs by itself.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
export MKL_NUM_THREADS ?= 2
# How long a thread looks out for work before it sleeps (GNU OpenMP). As it comes, two threads that have other programs
# beside them wait a hundred times as long for each other as they work. So a machine at rest is as fast, and a busy one
# takes a few times as long.
export GOMP_SPINCOUNT ?= 2000
# Of the page; given behind make app, and not taken from the environment, where other programs put theirs.
PORT = 8866
HOST = localhost

.DEFAULT_GOAL := help
.PHONY: help setup demo app test test-browser test-slow test-latest bench notebooks book gallery sample lab lint lock

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## create the environment: the locked packages and this one, editable

demo: $(VENV)/.installed  ## train MTLoRA and a baseline on the embedded scenes, in minutes on a CPU
	$(BIN)/python -m mtlora_lite demo

app: $(VENV)/.installed  ## serve a page that compares trained models, at http://localhost:8866; PORT=... HOST=...
	$(BIN)/voila notebooks/app/page.ipynb --Voila.config_file_paths=notebooks/app --port=$(PORT) --Voila.ip=$(HOST)

test: $(VENV)/.installed  ## run the tests, then the notebooks, whose outputs must be those that are stored
	$(BIN)/python -m pytest -q tests
	$(BIN)/python -m pytest -q --nbval --nbval-sanitize-with notebooks/sanitize.cfg notebooks/

# Tests that take long: a browser, fresh clones and environments. They look at what is committed.
test-browser: $(VENV)/.installed  ## open notebooks and the page in Chromium; pictures go to artifacts/browser/ and app/
	$(BIN)/python -m pytest -q tests/slow/test_browser.py tests/slow/test_app.py

test-slow: $(VENV)/.installed  ## the browser, a newcomer's clone and environment, launchers, runs that are killed
	$(BIN)/python -m pytest -q tests/slow

test-latest: $(BIN)/uv  ## the tests with the newest packages that pyproject.toml allows, in .venv-latest/
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venv-latest
	$(BIN)/uv pip install --python .venv-latest/bin/python --editable ".[dev,app,balance,lm,onnx,peft,tensorboard,video,wandb]"
	.venv-latest/bin/python -m pytest -q tests
	.venv-latest/bin/python -m pytest -q --nbval-lax notebooks/

bench: $(VENV)/.installed  ## measure what many tasks cost on this CPU; the record goes to data/benchmarks/
	$(BIN)/python tests/benchmarks/model.py --out data/benchmarks

notebooks: $(VENV)/.installed  ## execute the notebooks and store their outputs
	$(BIN)/python notebooks/execute.py

book: $(VENV)/.installed  ## build the site of the notebooks and the code; it goes to artifacts/book/
	$(BIN)/python notebooks/book/build.py artifacts/book

gallery: $(VENV)/.installed  ## draw the figures for slides, as PNG and SVG; they go to artifacts/gallery/
	$(BIN)/python -m mtlora_lite.gallery artifacts/gallery

sample: $(VENV)/.installed  ## write data/sample and data/contact_sheet.png anew
	$(BIN)/python -m mtlora_lite.sample

lab: $(VENV)/.installed  ## open JupyterLab on the first notebook
	$(BIN)/jupyter lab notebooks/00_one_image_many_tasks.ipynb

lint: $(VENV)/.installed  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# uv keeps the pins that are still allowed; delete requirements.lock first to take the newest of everything.
lock: $(BIN)/uv  ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra app --extra balance --extra book --extra lm --extra onnx --extra peft --extra tensorboard --extra video --quiet --no-annotate --universal --fork-strategy fewest \
	    --python-version 3.11 --custom-compile-command "make lock" --output-file requirements.lock

# Made anew only when one of its two sources changes.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --requirements requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

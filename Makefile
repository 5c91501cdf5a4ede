# make demo and make test need python3 (3.11 or later) with venv, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test unit integration lint format bench install clean

demo: install
	$(BIN)/ganray demo

# Tests of Ray and of stores wait most of the time: two at once.
test: install
	$(BIN)/pytest --numprocesses 2 --dist worksteal

unit: install
	$(BIN)/pytest tests/unit

integration: install
	$(BIN)/pytest tests/integration

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python tests/benchmarks/bench_restore.py $(BENCH)

install: $(INSTALLED)

# The constraints choose the versions, torch's build among them.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) ganray-demo ganray-output

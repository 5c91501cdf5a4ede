# make demo and make test need python3 (3.11 or later) with venv, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test unit integration lint format bench install browser clean

demo: install
	$(BIN)/ganray demo

# Tests of Ray and of stores wait most of the time: two at once.
test: install browser
	$(BIN)/pytest --numprocesses 2 --dist worksteal

unit: install
	$(BIN)/pytest tests/unit

integration: install browser
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

# Reports are tested in Chromium: installed where it is missing and where this user may, else these
# tests are skipped.
browser:
	@for name in chromium chromium-browser google-chrome; do \
	command -v $$name >/dev/null && exit 0; done; \
	{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get -qq update && \
	apt-get -qq install --yes --no-install-recommends chromium >/dev/null; } || \
	echo "no Chromium, and none could be installed: reports are not tested in a browser"

clean:
	rm -rf $(VENV) ganray-demo ganray-output

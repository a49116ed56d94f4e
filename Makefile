# Both main targets work on a fresh machine: they build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test quick lint format bench clean

demo: $(VENV)/.installed  ## explain sample_images/ with the bundled model into camcli_out/
	$(BIN)/camcli explain sample_images/ -o camcli_out

test: $(VENV)/.installed-dev lint  ## the whole gate
	$(BIN)/pytest

quick: $(VENV)/.installed-dev  ## the tests without the exhaustive ones
	$(BIN)/pytest -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## ratios against a plain forward and against the peers, in one run
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/startup.py

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

clean:
	rm -rf $(VENV) camcli_out build dist

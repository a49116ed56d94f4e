# Both main targets work on a fresh machine: they build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A test on each core, each on one thread: threads of several processes on the same cores slow each other down.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal

.PHONY: demo test exhaustive quick lint format texts docs dist bench clean

demo: $(VENV)/.installed  ## explain sample_images/ with the bundled model into camcli_out/
	$(BIN)/camcli explain sample_images/ -o camcli_out

test: $(VENV)/.installed-dev lint  ## the gate: style, types, imports, and the tests, a twentieth of the exhaustive ones among them
	$(PYTEST)

exhaustive: $(VENV)/.installed-dev  ## all exhaustive tests: architectures, formats, a real cluster, the whole README
	$(PYTEST) -m exhaustive --exhaustive

quick: $(VENV)/.installed-dev  ## the tests without the exhaustive ones
	$(PYTEST) -m "not exhaustive"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-docs  ## the site, into build/docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs build/docs

texts: $(VENV)/.installed-dev  ## what is made of the code: the manual page and llms.txt
	$(BIN)/python docs/man.py
	$(BIN)/python docs/llms.py

dist: $(VENV)/.installed-dev  ## the wheel and the source distribution in dist/, checked, and the wheel tried where no checkout is
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/pytest --exhaustive tests/processes/test_wheel.py

bench: $(VENV)/.installed-dev  ## all of docs/benchmarks.md, side by side in one run: make bench PHOTOS=a/folder/of/jpegs
	$(BIN)/python benchmarks/report.py --photos $(PHOTOS)

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group docs
	touch $@

clean:
	rm -rf $(VENV) camcli_out build dist

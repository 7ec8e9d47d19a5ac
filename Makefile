# `make demo` and `make test` set everything up in .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-all lint types benchmark

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(INSTALLED)
	$(BIN)/moments-xr run quickstart
	$(BIN)/moments-xr figure stores/quickstart.zarr --output figures/quickstart.png

# One process a core, and one thread a process: many small nets.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 -m "not slow and not browser and not notebook"

test-all: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

benchmark: $(INSTALLED)
	$(BIN)/python benchmarks/propagation.py

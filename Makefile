# `make demo` and `make test` are all the set-up there is: each installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2

.PHONY: demo test test-cluster lint bench install clean

demo: install
	$(BIN)/python examples/demo.py

# Files of tests, not single ones, go to the processes: a file's tests share what they have prepared.
test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A batch on two nodes of a Ray cluster, one of which is killed; not in `test`, since Ray is large and slow to start.
test-cluster: install
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,cluster]'
	$(BIN)/python -m pytest tests/batch/two_nodes.py

# Speed and memory; CLIPS=FOLDER (of clips: see vidfill evaluate --help) scores the models' quality as well.
bench: install
	$(BIN)/python -m benchmarks.speed --threads $(OMP_NUM_THREADS)
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.end_to_end
	$(if $(CLIPS),$(BIN)/vidfill evaluate $(CLIPS) --models telea,ns,propagate)
	$(if $(CLIPS),$(BIN)/python -m benchmarks.tracking $(CLIPS))

install: $(VENV)/.installed

# torch comes first and alone: what is installed after it takes the build that is there, not another one.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .pytest_cache .ruff_cache

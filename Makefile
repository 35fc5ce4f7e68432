# The habits of this project. `make demo` and `make test` each work alone on a fresh clone.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup-stamp

# Two test processes on two cores: more threads than cores only wait for each other.
WORKERS ?= 2
ONE_THREAD := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1
PYTEST := TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m pytest
PARALLEL := $(ONE_THREAD) $(PYTEST) -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := setup
.PHONY: setup demo test test-full test-core test-torch test-tf test-conversion parity test-peer test-tools bench \
	bench-quick lint format types commits picture check clean

setup: $(STAMP)

# Installed again whenever the dependencies or their versions change.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make setup PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -e '.[torch,tf,test,dev]' -c constraints.txt
	@touch $@

demo: $(STAMP)
	$(BIN)/xlm demo

test: $(STAMP)
	$(PARALLEL) tests

# The long ones too: every published shape, many random configurations.
test-full: $(STAMP)
	XLM_FULL=1 $(PARALLEL) tests

test-core: $(STAMP)
	$(PYTEST) tests/core tests/test_imports.py tests/test_import_graph.py tests/test_mirror.py

test-torch: $(STAMP)
	$(PYTEST) tests/torch

test-tf: $(STAMP)
	$(PYTEST) tests/tf

test-conversion: $(STAMP)
	$(PYTEST) tests/conversion

# PyTorch and TensorFlow in one process.
parity: $(STAMP)
	$(PYTEST) tests/parity

# transformers' own common tests, for its classes and for ours: gets its source distributions into a
# cache outside the project (XLM_PEER_CACHE). More by PEER="--suites 'PyTorch*' --verbose -k WORDS".
test-peer: $(STAMP)
	$(ONE_THREAD) TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m tests.peer $(PEER)

# With tools that need environments of their own: transformers 5, sentence-transformers, ONNX Runtime,
# captum. They are made in a cache outside the project (XLM_TOOLS_CACHE). More by TOOLS="--only NAME".
test-tools: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m tests.tools $(TOOLS)

# What is measured, printed side by side.
bench: $(STAMP)
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/tokenizer.py
	$(BIN)/python benchmarks/checkpoints.py --rounds 3
	$(BIN)/python -m benchmarks.speed $(SPEED)

# Speed alone, in about 4 minutes. Both take more by SPEED="--rows encode --json FILE", the Python
# of the peers' environment by XLM_BENCH_PEERS_PYTHON, a checkout of the original code by
# XLM_BENCH_ORIGINAL.
bench-quick: $(STAMP)
	$(BIN)/python -m benchmarks.speed --quick $(SPEED)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP)
	$(BIN)/mypy

# Subjects of commits, where there is a history.
commits: $(STAMP)
	$(BIN)/python -m tests.support.commit_subjects

# docs/architecture.svg, from the imports.
picture: $(STAMP)
	$(BIN)/python -m tests.support.import_picture

check: lint types commits
	$(PYTEST) -q tests/test_imports.py tests/test_import_graph.py tests/test_mirror.py

# Caches and build products; .venv stays.
clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -type d -prune -exec rm -rf {} +

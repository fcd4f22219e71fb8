# Everything one does with this project. `make` alone lists it.
#
# What a target needs is installed into .venv when it is first asked for, and again
# when pyproject.toml has changed; nothing outside of this folder is touched.

PYTHON  ?= python3
HOST    ?= 127.0.0.1
PORT    ?= 8080
STORAGE ?= uploads
# More flags for the example app (`make run ARGS=--help`), or for pytest.
ARGS    ?=
# Over how many processes the tests are shared out. Their servers and browsers use more
# processor time than the tests: three keep two processors busy. A file stays in one.
JOBS    ?= 3
# How long each harness of `make fuzz` runs, in seconds.
SECONDS ?= 60
# How many workers `make chaos` kills, ends or stops.
KILLS   ?= 1000

VENV := .venv
BIN  := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The pyright that pyproject.toml asks for is meant; it shall not speak of newer ones.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Compiled modules are kept, in one place: the tests start hundreds of processes, each
# of which would compile the package again, and that takes three times as long.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/pycache

.DEFAULT_GOAL := help
.PHONY: help run test check lint types coverage matrix wheel sbom bench docs fuzz chaos soak fmt clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.installed-all ## start the example app (HOST, PORT, STORAGE, ARGS)
	@exec $(BIN)/python -m example_app --host $(HOST) --port $(PORT) --storage $(STORAGE) $(ARGS)

test: lint types $(VENV)/.installed-npm ## lint, types and all tests (ARGS for pytest)
	PYTHONASYNCIODEBUG=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile \
	    --no-loadscope-reorder $(ARGS)

check: lint types ## lint, types, the tests of the architecture, and all figures
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_exports.py
	@$(BIN)/python -m tests.covered
	@$(BIN)/python -m tests.quality

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	@# Both at once: each of them keeps one processor busy.
	$(BIN)/mypy & $(BIN)/pyright --pythonpath $(BIN)/python; \
	    pyright=$$?; wait $$! && exit $$pyright
	@$(BIN)/python -m tests.typed

coverage: $(VENV)/.installed-dev ## measure what the tests reach, of each module by its own (PYTHON 3.12 or newer)
	PYTHONASYNCIODEBUG=1 $(BIN)/python -m pytest --cov --cov-context=test --cov-report= $(ARGS)
	$(BIN)/python -m tests.covered --gaps --least 100

matrix: $(VENV)/.installed-dev ## all tests without extras, with the oldest versions, on each Python (ARGS=oldest)
	$(BIN)/python -m tests.matrix $(ARGS)

wheel: $(VENV)/.installed-release ## build what is released, into dist
	$(BIN)/python -m build

sbom: $(VENV)/.installed-release ## list what a release with all extras is made of (CycloneDX)
	rm -rf build/sbom && $(PYTHON) .ci/make_venv.py build/sbom
	build/sbom/bin/python -m pip install --quiet '.[all]'
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	    --output-file dist/sbom.cdx.json build/sbom/bin/python

bench: $(VENV)/.installed-bench $(VENV)/.installed-npm ## measure beside the peers, into docs/benchmarks (ARGS=--quick)
	$(BIN)/python -m tests.benchmarks --json docs/benchmarks/results.json $(ARGS)
	$(BIN)/python -m tests.benchmarks --charts

docs: $(VENV)/.installed-docs ## build the documentation into build/docs, warnings as errors
	$(BIN)/python .docs/build.py

fuzz: $(VENV)/.installed-fuzz ## feed the parsers at random (SECONDS for each)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

chaos: $(VENV)/.installed-dev ## kill workers while they take uploads (KILLS)
	-@$(BIN)/python -m tests.node azurite
	$(BIN)/python -m tests.web.resumable.storm --kills $(KILLS) $(ARGS)

soak: $(VENV)/.installed-dev ## an hour of mixed traffic on the example app, on SeaweedFS (ARGS=--help)
	$(BIN)/python -m tests.soak $(ARGS)

fmt: $(VENV)/.installed-dev ## format, fix what can be fixed, write README's tables
	$(BIN)/python -m tests.readme
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## forget .venv, caches and build results; uploads stay
	rm -rf $(VENV) build dist *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each extra: `.installed-dev` is `pip install -e '.[dev]'`.
$(VENV)/.installed-%: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

# Clients that the tests drive; without npm, or a network, their tests are skipped.
$(VENV)/.installed-npm: tests/node.py $(VENV)/.installed-dev
	-@$(BIN)/python -m tests.node && touch $@

# Made anew when the Python that it was made of has gone from the machine.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "aiostreams needs Python 3.11 or newer, and '$(PYTHON)' is" \
	        "$$($(PYTHON) --version 2>&1 || true). Name another: make PYTHON=python3.12" >&2; \
	    exit 1; }
	@$(PYTHON) .ci/make_venv.py $(VENV)

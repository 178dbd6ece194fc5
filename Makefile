# Two commands need nothing but Python ≥ 3.11, make and a package registry: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without compiled modules each process would compile the libraries and the tests again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup demo test test-fast test-all drills drills-short cluster-test lint docs lock mlflow-lock clean

setup: $(READY)

# `uv` goes into the environment first and then fills it; the lock holds versions and no addresses.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "herbray needs Python 3.11 or newer; try make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $(READY)

demo: setup
	$(BIN)/herbray demo jobs/demo.yaml

# Both halves run side by side: those with a cluster wait for processes half of their time. The output of those without one comes at the end.
test: setup
	@mkdir -p build
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not cluster and not long" >build/test.log 2>&1 & other=$$!; \
	$(BIN)/python -m pytest -m "cluster and not long" && passed=0 || passed=$$?; \
	wait $$other || passed=$$?; \
	echo "Tests without a cluster (all of their output: build/test.log)"; tail -n 40 build/test.log; exit $$passed

# Also the tests that take tens of seconds: before a release.
test-all: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not cluster"
	$(BIN)/python -m pytest -m cluster

# No Ray cluster and nothing that takes a second: while you work.
test-fast: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not cluster and not slow and not long"

# Workers, drivers, nodes and disks are killed in earnest; the table goes into the page. Some thirty to forty-five minutes, if nothing else runs.
drills: setup
	$(BIN)/python tests/drills/run.py --page docs/reliability.md

# A small network: what is tried is the same.
drills-short: setup
	DRILL_ARCH=mobilenet_v3_small $(BIN)/python tests/drills/run.py --short

# Two Ray nodes, PostgreSQL, an S3 server and MLflow on this machine; every verb by `ray job submit`; a node is killed. Some minutes.
cluster-test: setup
	$(BIN)/python cluster/local/rehearsal.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# The site, in build/site. A broken link is an error.
docs: setup
	$(BIN)/python docs/generator/build_site.py
	$(BIN)/zensical build --clean --strict

lock: setup
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --extra docs --extra umap --extra lite --extra timm --extra open_clip --universal --python-version 3.11 --no-annotate --no-header -o requirements.lock

mlflow-lock: setup
	$(BIN)/uv pip compile --quiet cluster/mlflow/requirements.txt --universal --python-version 3.11 --no-annotate --no-header -o cluster/mlflow/requirements.lock

clean:
	rm -rf $(VENV) runs build

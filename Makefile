# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv from requirements.txt where needed.
#   make demo PYTHON=python3.12
#   make demo TORCH_INSTALL_ARGS="--index-url https://download.pytorch.org/whl/cpu"     a torch without CUDA
PYTHON ?= python3
TORCH_INSTALL_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
AUDIT_TOOLS := pip-audit==2.10.1 uv==0.13.9
DOCS_READY := $(VENV)/.ready-docs

.PHONY: demo test lint docs check check-browser audit lock faults bench tables clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/torchhebb train

# Two processes of one thread each: they finish sooner than one of two threads.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Format, lint, spelling, types.
lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy

check: lint test docs audit

# Known faults of the pinned packages, and their files' hashes; says so where there is no network.
audit lock:
	@$(PYTHON) -m venv $(VENV)/audit
	@if $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check $(AUDIT_TOOLS) 2>/dev/null; then \
		$(PYTHON) tests/audit.py $(VENV)/audit/bin $(if $(filter lock,$@),--lock); \
	else echo "$@: no package index is reachable here, nothing was looked up"; fi

# The site in docs/_build/html, a warning being an error; nothing is fetched once the packages are there.
docs: $(DOCS_READY)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "site: docs/_build/html/index.html"

# The report page in a real browser: needs chromium, chromium-browser or google-chrome on the PATH.
check-browser: $(READY)
	$(BIN)/python -m pytest -m browser tests/report tests/explore

# Kills, full disks, damaged files, hostile input: hours; it goes on where it was stopped.
#   make faults FAULTS="flipped-run --cases 500"
faults: $(READY)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive nice -n 10 $(BIN)/python -m tests.faults $(FAULTS)

bench: $(READY)
	@set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done
	$(BIN)/python benchmarks/tables.py

# The tables of README.md and docs/ from results/.
tables: $(READY)
	$(BIN)/python -m torchhebb.report.tables

# torch has a call of its own: only it obeys TORCH_INSTALL_ARGS, and the rest then finds it in place.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "torchhebb needs Python 3.11 or newer, got %d.%d: set PYTHON=python3.11 or newer" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH_INSTALL_ARGS) "$$(grep '^torch==' requirements.txt)"
	$(PIP) install --quiet --requirement requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DOCS_READY): $(READY) docs/requirements.txt
	$(PIP) install --quiet --requirement docs/requirements.txt
	@touch $@

# .venv, runs/ and the data store stay: they are dear to make again.
clean:
	rm -rf build dist docs/_build docs/reference/api docs/reference/commands.md .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

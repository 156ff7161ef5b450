# One target per duty; `make quickstart` and `make test` set up all they need.
# TORCH_INDEX=URL adds an index to install from, for example one of smaller CPU builds of torch.

ifndef PYTHON
PYTHON := $(shell for python in python3.11 python3 python3.12 python3.13; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$python && exit; \
  done; command -v python3)
endif
BIN := .venv/bin
INSTALLED := .venv/.installed
EXTRA_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
STUDIES = $(shell find studies -name '*.yaml' | sort)

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-slow test-postgres check benchmarks brute-force faults clean

help:
	@echo "make quickstart   install if needed, run studies/quickstart.yaml, write its report"
	@echo "make test         the tests (a few minutes on two cores)"
	@echo "make check        lint, format, types, and every study through 'tuner check'"
	@echo "make test-slow    the long tests"
	@echo "make test-postgres   the storage tests on a PostgreSQL server of their own"
	@echo "make benchmarks   what is measured side by side"
	@echo "make faults       every fault in full, with its table (an hour at a time; goes on where it was stopped)"
	@echo "make brute-force  derived budgets against training at every budget, ten study seeds (hours)"
	@echo "make clean        remove the environment and caches; studies' results in runs/ stay"

install: $(INSTALLED)

$(BIN)/python:
	@command -v "$(PYTHON)" > /dev/null || { echo "make: no $(or $(PYTHON),python3) found; install Python 3.11 or newer (Debian, Ubuntu: python3 python3-venv)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $$($(PYTHON) --version) is too old, Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make environments (ensurepip or venv is missing); install its package (Debian, Ubuntu: $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')) and run make again" >&2; exit 2; }
	$(PYTHON) -m venv .venv

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check $(EXTRA_INDEX) -c constraints.txt -e '.[test,dev]'
	@touch $@

quickstart: $(INSTALLED)
	$(BIN)/tuner run studies/quickstart.yaml
	$(BIN)/tuner report quickstart
	@echo "The report is at reports/quickstart/; open its HTML page in a browser."

test: $(INSTALLED)
	tests/in_memory.sh $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q

test-slow: $(INSTALLED)
	tests/in_memory.sh $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q -m slow

test-postgres: $(INSTALLED)
	tests/storage/with_postgres.sh tests/in_memory.sh $(BIN)/python -m pytest -n 2 -q -k "postgres or passwords" tests/storage tests/trials

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@for study in $(STUDIES); do echo "tuner check $$study"; $(BIN)/tuner check "$$study" > /dev/null || exit $$?; done

benchmarks: $(INSTALLED)
	@for file in tests/benchmarks/*.py; do $(BIN)/python "$$file" || exit $$?; done

faults: $(INSTALLED)
	$(BIN)/python tests/faults/run_campaigns.py

brute-force: $(INSTALLED)
	$(BIN)/python tests/benchmarks/brute_force.py digits --study-seeds 10
	$(BIN)/python tests/benchmarks/brute_force.py quickstart round_1.adjust=probe round_1.max_adjustments=2 --study-seeds 10

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find tuner tests studies -name __pycache__ -type d -prune -exec rm -rf {} +

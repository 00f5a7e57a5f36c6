# One front door for every chore; CI uses it as it stands. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-gpu chaos bench bench-gpu

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
STAMP := .venv/.setup-stamp

# PyPI's torch for Linux brings gigabytes of CUDA libraries and does not import without them. Where there is no NVIDIA
# GPU the CPU build is asked for by its full version, which only an index of PyTorch's CPU wheels carries.
CPU_TORCH := torch==2.13.0+cpu
TORCH_INDEX ?=
SOURCES ?=

help:  ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo
	@echo 'Variables, as in `make demo SOURCES=docs/`:'
	@echo '  SOURCES      more for the demo to read: files, directories, globs or s3:// prefixes'
	@echo '  TORCH_INDEX  URL of the index of PyTorch'"'"'s CPU wheels, for a Linux machine without an NVIDIA GPU'
	@echo '  PYTHON       the Python, 3.11 or newer, that makes .venv'

setup: $(STAMP)  ## Make .venv with everything in it; does nothing when it is up to date

$(STAMP): pyproject.toml
	@test -n '$(PYTHON)' || { echo 'no python3 on the PATH: install Python 3.11, or make setup PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup PYTHON=...")'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PIP) install --quiet 'pip>=25.1'
	@if [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then \
		$(PIP) install $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)') '$(CPU_TORCH)' || { \
			[ -z '$(TORCH_INDEX)' ] || exit 1; \
			echo 'No CPU build of torch where pip looks: taking the one with CUDA, several GB. See TORCH_INDEX in `make help`.' >&2; \
		}; \
	fi
	$(PIP) install . --group dev
	@touch $@

demo: setup  ## Summarise a few documents with the shipped model on this machine, and show what it cost
	$(PY) -m jobs.demo $(SOURCES)

check: setup  ## Formatting, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

test: setup  ## Every test that needs no GPU, without the long faults of `make chaos`
	$(PY) -m pytest --durations=25 -m 'not gpu and not chaos'

chaos: setup  ## Every fault in the middle of a run, 50 random kills and 1,000 schedules too, and what each cost; CHAOS_SEED=... repeats them
	$(PY) -m pytest -s --durations=0 tests/chaos tests/pipeline/test_schedules.py

test-gpu:  ## The tests that need a CUDA device, after `make setup` there, or with PY=python3
	$(PY) -m pytest tests/models/kernels tests/models/test_gpu.py

bench: setup  ## The benchmarks for a CPU; each prints JSON that names the hardware
	@for program in prefill length decode kernels; do $(PY) -m "benchmarks.$$program" || exit 1; done

bench-gpu:  ## The benchmark of a 1.5B model on a CUDA device, meant to take under 8 minutes; PY=python3 as above
	$(PY) -m benchmarks.gpu

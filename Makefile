# One front door for every chore; CI uses it as it stands. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup lock demo demo-llm docs check test test-latest test-gpu chaos bench bench-gpu

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
LATEST := .venv-latest/bin/python
STAMP := .venv/.setup-stamp

# PyPI's torch for Linux brings gigabytes of CUDA libraries and does not import without them. Where there is no NVIDIA
# GPU the CPU build of the locked version is asked for by its full name, which only an index of PyTorch's CPU wheels
# carries. That wheel alone comes without a hash; where it is not to be had, requirements-torch.lock is installed too.
TORCH := $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' requirements-torch.lock)
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

$(STAMP): pyproject.toml requirements.lock requirements-torch.lock requirements-infra.lock
	@test -n '$(PYTHON)' || { echo 'no python3 on the PATH: install Python 3.11, or make setup PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup PYTHON=...")'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(call cpu_torch,$(PY))
	$(PIP) install --quiet --only-binary :all: --require-hashes -r requirements.lock $$($(PY) -c '$(HAS_CPU_TORCH)' || echo -r requirements-torch.lock)
	$(PIP) install --quiet --only-binary :all: --require-hashes --no-deps -r requirements-infra.lock
	@touch $@

define cpu_torch
	@if [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then \
		$(1) -m pip install --quiet --no-deps $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)') 'torch==$(TORCH)+cpu' || { \
			[ -z '$(TORCH_INDEX)' ] || exit 1; \
			echo 'No CPU build of torch where pip looks: taking the one with CUDA, several GB. See TORCH_INDEX in `make help`.' >&2; \
		}; \
	fi
endef
HAS_CPU_TORCH := import importlib.metadata as m, sys; sys.exit({d.version for d in m.distributions(name="torch")} != {"$(TORCH)+cpu"})

LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade

lock: setup  ## Renew requirements*.lock: the newest of all that pyproject.toml allows
	$(LOCK) pyproject.toml --group dev -o .venv/lock
	$(LOCK) --group infra --no-deps --no-annotate -o .venv/lock-infra
	{ echo '# Written by `make lock`: what tests/infra checks infra/ with, without what it depends on.'; cat .venv/lock-infra; } >requirements-infra.lock
	awk 'BEGIN { print "# Written by `make lock`: all but torch." > "requirements.lock"; \
		print "# Written by `make lock`: torch, and what its build with CUDA brings." > "requirements-torch.lock" } \
		/^[a-z]/ { lock = /^(torch|nvidia|cuda)[-=]/ ? "requirements-torch.lock" : "requirements.lock" } { print > lock }' .venv/lock

demo: setup  ## Summarize a few documents with the shipped model on this machine, and show what it cost
	$(PY) -m jobs.demo $(SOURCES)

demo-llm: setup  ## The same with a small instruct model (SmolLM2, 93 MB), whose answers are sentences; a few minutes
	$(PY) -m jobs.demo_llm $(SOURCES)

docs: setup  ## Write the pages that are made of the code: docs/tables.md, docs/settings.md and docs/code.md
	$(PY) -m docs.generate

check: setup  ## Formatting, lint, types, licenses and known vulnerabilities
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	$(PY) -m infra.dependencies

test: setup  ## Every test that needs no GPU, without the long faults of `make chaos`
	$(call tests,$(PY))

# Two at a time: those that start a Ray one after the other, since each takes all of a small machine, and the others
# beside them. What the first say is shown at the end.
define tests
	@$(1) -m pytest --durations=15 -m 'not gpu and not chaos' tests/chaos tests/jobs >.tests-with-ray.log 2>&1 & with_ray=$$!; \
	trap 'kill $$with_ray 2>/dev/null' INT TERM; \
	code=0; $(1) -m pytest --durations=15 -m 'not gpu and not chaos' --ignore=tests/chaos --ignore=tests/jobs $(2) || code=$$?; \
	wait $$with_ray || code=$$?; cat .tests-with-ray.log; exit $$code
endef

test-latest:  ## The same with the newest of all that pyproject.toml allows, in .venv-latest: what is coming, before it comes
	$(PYTHON) -m venv --clear .venv-latest
	$(LATEST) -m pip install --quiet --upgrade pip
	$(call cpu_torch,$(LATEST))
	$(LATEST) -m pip freeze | { grep '^torch==.*+cpu' || true; } >.venv-latest/torch
	$(LATEST) -m pip install --quiet --constraint .venv-latest/torch . --group dev
	$(call tests,$(LATEST),--deselect tests/test_lock.py::test_what_is_installed_is_the_lock)

chaos: setup  ## Every fault in the middle of a run, 50 random kills and 1,000 schedules too, and what each cost; CHAOS_SEED=... repeats them
	$(PY) -m pytest -s --durations=0 tests/chaos tests/pipeline/ledger/test_schedules.py

test-gpu:  ## The tests that need a CUDA device, after `make setup` there, or with PY=python3
	$(PY) -m pytest tests/models/kernels tests/models/backends/test_gpu.py

bench: setup  ## The benchmarks for a CPU; each prints JSON that names the hardware
	@for program in prefill length decode kernels; do $(PY) -m "benchmarks.$$program" || exit 1; done

bench-gpu:  ## The benchmark of a 1.5B model on a CUDA device, meant to take under 8 minutes; PY=python3 as above
	$(PY) -m benchmarks.gpu

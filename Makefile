# Everything a person types. Each target sets up what it needs first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
CANDIDATES ?= toy
PORT ?= 3000
KILLS ?= 100
INPUTS ?= 20000
SEED ?= 1
# Twice as many as there are cores: half of the time, a test waits for processes that it started.
PYTEST = $(BIN)/python -m pytest --numprocesses $$((2 * $$(nproc))) --dist loadfile --no-loadscope-reorder
export CANDIDATES  # names reach the command as they are, whatever is in them

.PHONY: help demo run ui test test-benchmarks test-browser test-faults lint format lock ffmpeg clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: .venv/ready ffmpeg ## Run the whole chain on the embedded demo, and show scores and report
	@ISOLATION_MUSDB18=demo ISOLATION_MEDLEYDB=demo $(BIN)/python -u -m pipelines.run --candidates="$$CANDIDATES"

run: .venv/ready ffmpeg ## Run the whole chain on the configured datasets (CANDIDATES=a,b)
	@$(BIN)/python -u -m pipelines.run --candidates="$$CANDIDATES"

ui: .venv/ready ffmpeg ## Open Dagster on 127.0.0.1 (PORT=3000), with schedules and history
	@exec $(BIN)/python -m pipelines.ui --port $(PORT)

test: .venv/ready ffmpeg ## Run the tests
	@$(PYTEST)

test-benchmarks: .venv/ready ffmpeg ## Run every benchmark in small
	@$(PYTEST) tests/benchmarks

test-browser: .venv/ready ffmpeg chromium ## Attack and use the UI in a real browser
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(INSTALL) -q --require-hashes -r tests/browser/requirements.txt
	$(BIN)/python -m pytest tests/browser

# Not a part of `test`: kills, hostile inputs, full disks and races take long, and what they try follows from a seed.
test-faults: .venv/ready ffmpeg ## Kill, feed with nonsense, fill disks (SHORT=1: ten minutes; KILLS=, INPUTS=, SEED=)
	@$(BIN)/python -m pytest tests/faults --numprocesses auto --dist loadfile --faults-seed $(SEED) \
	  $(if $(SHORT),,--kills $(KILLS) --inputs $(INPUTS))

lint: .venv/ready ## Lint, check the format and the types
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready ## Bring the code into its format
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Write the exact versions and checksums of all packages anew, after a change of pyproject.toml
	@.ci/lock

clean: ## Remove the virtual environment and the storage root
	@rm -rf .venv storage

# Root installs missing system packages itself; others are told what to ask for.
define need_package
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
  echo "installing $(1)"; \
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(1); } >/tmp/isolation-apt.log 2>&1 \
    || { tail -n 5 /tmp/isolation-apt.log >&2; echo "could not install $(1): install it by hand, then try again" >&2; exit 1; }; \
else echo "$(1) is missing: install it (Debian, Ubuntu: sudo apt-get install $(1)), then try again" >&2; exit 1; fi
endef

ffmpeg:
	@if ! command -v ffmpeg >/dev/null || ! command -v ffprobe >/dev/null; then $(call need_package,ffmpeg); fi
	# Debian's ffmpeg brings it along; one that was built otherwise may not.
	if command -v ldconfig >/dev/null && ! ldconfig -p | grep -q 'libchromaprint\.so\.1'; then $(call need_package,libchromaprint1); fi

chromium:
	@if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then $(call need_package,chromium); fi

# Nothing is installed whose checksum is not written down. The project itself comes last, and fetches nothing.
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --no-deps
define install_packages
  $(INSTALL) --require-hashes -r constraints.txt && \
  { $(INSTALL) --require-hashes -r constraints-torch-cpu.txt || $(INSTALL) --require-hashes -r constraints-torch.txt; } && \
  $(INSTALL) --no-index --no-build-isolation -e . && \
  $(BIN)/python -m pip check
endef

.venv/ready: pyproject.toml constraints.txt constraints-torch.txt constraints-torch-cpu.txt
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
	  echo "Python 3.11 or newer is needed: install it, or name one with PYTHON=..." >&2; exit 1
	fi
	if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then $(call need_package,python3-venv); fi
	# What it leads to may be in use by others, and would be emptied.
	if [ -L .venv ]; then echo ".venv is a link to $$(readlink .venv): set it up there, or remove the link" >&2; exit 1; fi
	printf 'setting up .venv (a minute or two) '
	$(PYTHON) -m venv --clear .venv
	{ $(install_packages); } >.venv/setup.log 2>&1 &
	installer=$$!
	while kill -0 $$installer 2>/dev/null; do printf '.'; sleep 2; done
	wait $$installer || { echo; tail -n 20 .venv/setup.log >&2; echo "set-up failed; the whole log is .venv/setup.log" >&2; exit 1; }
	echo ' done'
	touch .venv/ready

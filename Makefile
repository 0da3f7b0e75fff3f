# Every target makes the virtual environment that it needs; nothing is installed outside of this folder.
# PYTHON=python3.12 make test    picks an interpreter (3.11 or newer).

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-torch test-browser check format bench faults compat corpus clean help

help:
	@echo "make demo     upload photos to an embedded Hub and load them back"
	@echo "make test     run the tests"
	@echo "make test-browser  run the gallery in a headless Chromium"
	@echo "make check    format, lint, types, tests: what CI runs"
	@echo "make format   rewrite the code in the house format"
	@echo "make bench    compare with push_to_hub (QUICK=1 for small sizes)"
	@echo "make faults   kill and break uploads at random points (ARGS='--minutes 5 --seed 2')"
	@echo "make compat   read what we write with an old version of datasets"
	@echo "make corpus   check every image of Pillow's test corpus"
	@echo "make test-torch  read what torch, peft and diffusers write, and let them load what we repair"
	@echo "make clean    remove environments and caches"

.venv/base: pyproject.toml
	@test -n "$(PYTHON)" || { echo "qflux needs Python 3.11 or newer; none was found." >&2; exit 1; }
	@echo "Making .venv with $(PYTHON) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) install --upgrade "pip>=25.1"
	@$(PIP) install --editable .
	@$(BIN)/python -m compileall -q qflux_hub  # as other installs do; commands then take a quarter less time
	@touch $@

.venv/dev: .venv/base
	@$(PIP) install --group dev
	@touch $@

demo: .venv/base
	@QFLUX_HUB_DIR=.demo/hub QFLUX_CACHE_DIR=.demo/cache HF_HOME=.demo/hf BIN=$(BIN) sh tests/demo.sh

test: .venv/dev
	@$(BIN)/python -m pytest $(ARGS)

test-browser: .venv/dev
	@$(BIN)/python -m pytest tests/browser $(ARGS)

check: .venv/dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory test

format: .venv/dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/dev
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(ARGS)

# Pillow's own test images, broken ones among them. pip makes the metadata of a source distribution before it keeps it,
# so this takes half a minute and what building Pillow needs, without building it.
.demo/corpus/done:
	@mkdir -p .demo/corpus
	@$(PIP) download --no-deps --no-binary pillow --dest .demo/corpus pillow==13.0.0
	@tar -xzf .demo/corpus/pillow-13.0.0.tar.gz -C .demo/corpus --strip-components=2 pillow-13.0.0/Tests/images
	@touch $@

corpus: .venv/dev .demo/corpus/done
	@CORPUS=.demo/corpus/images $(BIN)/python -m pytest tests/test_corpus.py -s $(ARGS)

faults: .venv/dev
	@$(BIN)/python -m tests.faults $(ARGS)

.venv-compat/done: tests/compat/requirements.txt
	@$(PYTHON) -m venv .venv-compat
	@.venv-compat/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

compat: export HF_DATASETS_DISABLE_PROGRESS_BARS = 1
compat: export HF_HUB_DISABLE_PROGRESS_BARS = 1
compat: .venv/dev .venv-compat/done
	@$(BIN)/python -m tests.compat.write .demo/compat
	@.venv-compat/bin/python tests/compat/read.py .demo/compat
	@$(BIN)/python tests/compat/read.py .demo/compat

.venv-torch/done: tests/with_torch/requirements.txt
	@$(PYTHON) -m venv .venv-torch
	@.venv-torch/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

test-torch: .venv/dev .venv-torch/done
	@rm -rf .demo/torch
	@.venv-torch/bin/python tests/with_torch/write.py .demo/torch
	@$(BIN)/python -m tests.with_torch.read .demo/torch
	@.venv-torch/bin/python tests/with_torch/load.py .demo/torch

clean:
	rm -rf .venv .venv-compat .venv-torch .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

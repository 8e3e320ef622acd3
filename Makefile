# Everything a contributor needs, one target each. `make` alone lists the targets.
#
#   PYTHON=python3.12        the interpreter of .venv (default: the first one found that is new enough)
#   PIP_ARGS="--no-index …"  more options for pip
#   DEMO_ARGS="--rows 5000"  more options for `sentiscale demo`
#   PYTEST_ARGS="-k layout"  more options for pytest
#   PYTEST_WORKERS=2         test files run at the same time: many of them wait for processes
#   BENCH_FILES="a.ft.txt …" fastText files for benchmarks (default: 240,000 generated reviews)
#   BENCH_ARGS="--rounds 6"  more options for the bench targets
#   PEERS=compare            extras with the peers of bench-time-to-accuracy (default: with Keras)
#   BASE=main                revision that compare-results compares with (default: HEAD~1)
#   SECONDS=1200             how long `make fuzz` and `make fuzz-inputs` run (default: 300)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow boundscheck fuzz fuzz-inputs readme docs wheel lint compare-results ruff source types layers bench-prepare bench-parallel bench-time-to-accuracy bench-predict bench-serve clean distclean

BIN := .venv/bin
CODE := src tests scripts docs/conf.py docs/_ext $(wildcard benchmarks examples notebooks)
PYTHON ?=
PIP_ARGS ?=
DEMO_ARGS ?=
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 2
BENCH_FILES ?= build/reviews.ft.txt
BENCH_ARGS ?=
PEERS ?= compare,compare-keras
BASE ?= HEAD~1
SECONDS ?= 300
BOUNDSCHECK_TESTS := tests/text $(addprefix tests/,model/test_wide.py model/test_word_vectors.py \
	fuzz/test_text_path.py inference/predict/test_ngram_products.py \
	$(addprefix data/test_,duplicates.py notes.py oddities.py wordcount.py))

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: .venv/.installed  ## create .venv with all dependencies, pinned by constraints.txt

demo: setup  ## prepare, train, evaluate and predict on generated reviews
	@$(BIN)/sentiscale demo $(DEMO_ARGS)

test: setup  ## the tests, without those that take minutes
	@$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-slow: setup  ## the tests that take minutes
	@$(BIN)/python -m pytest -q -m slow $(PYTEST_ARGS)

fuzz-inputs: setup  ## read random and damaged tables for SECONDS, and look for lost rows
	@$(BIN)/python -m tests.fuzz.tables $(SECONDS)

boundscheck: setup  ## run the tests of the compiled code with bounds checks in it
	@NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/build/boundscheck $(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) \
		--dist loadfile $(BOUNDSCHECK_TESTS) $(PYTEST_ARGS)

fuzz: setup  ## use models, datasets and checkpoints with damaged files for SECONDS
	@$(BIN)/python -m tests.fuzz.damaged_files --seconds $(SECONDS) --seed $$RANDOM

readme: setup  ## run the commands of README.md
	@$(BIN)/python -m pytest -q tests/architecture/test_readme.py -m "slow or not slow" $(PYTEST_ARGS)

docs: setup  ## build the site of docs/ in build/docs; installs Sphinx into .venv
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --group docs
	@$(BIN)/python -m sphinx -W --keep-going -q -c docs -d build/doctrees . build/docs
	@echo "build/docs/index.html: open it in a browser"

wheel: setup  ## build sdist and wheel in dist/; the version is the last git tag
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt build
	@$(BIN)/python -m build --outdir dist .

lint: ruff source types layers  ## check style, own rules, types and import layers

ruff: setup
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

source: setup
	@$(BIN)/python scripts/check_source.py

types: setup
	@$(BIN)/mypy

layers: setup
	@$(BIN)/lint-imports

compare-results: setup  ## compare results bit for bit with those of an earlier revision, BASE
	@$(BIN)/python scripts/compare_results.py $(BASE)

bench-prepare: setup $(BENCH_FILES)  ## compare `prepare` with pandas, Dask and Polars; installs them into .venv
	@mkdir -p build
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[bench]'
	@$(BIN)/python benchmarks/bench_prepare.py $(BENCH_FILES) --out build/prepare.jsonl $(BENCH_ARGS)

bench-parallel: setup $(BENCH_FILES)  ## measure training under every layout, and the cost of faults
	@mkdir -p build
	@$(BIN)/python benchmarks/bench_parallel.py $(firstword $(BENCH_FILES)) --out build/parallel $(BENCH_ARGS)
	@$(BIN)/python benchmarks/bench_faults.py build/parallel/data-default --out build/faults

bench-time-to-accuracy: setup $(BENCH_FILES)  ## compare accuracy and training time with fastText, scikit-learn and others
	@mkdir -p build
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[$(PEERS)]'
	@test -d build/data || $(BIN)/sentiscale prepare $(firstword $(BENCH_FILES)) --out build/data --quiet
	@$(BIN)/python benchmarks/bench_time_to_accuracy.py build/data --out build/time-to-accuracy $(BENCH_ARGS)

bench-predict: setup $(BENCH_FILES)  ## compare batch prediction with the network alone, ONNX and other tools
	@mkdir -p build
	@test -d build/data || $(BIN)/sentiscale prepare $(firstword $(BENCH_FILES)) --out build/data --quiet
	@test -d build/run || $(BIN)/sentiscale train build/data --out build/run --quiet
	@$(BIN)/python benchmarks/bench_predict.py $(firstword $(BENCH_FILES)) --model build/run/model --data build/data --out build/predict.jsonl $(BENCH_ARGS)

bench-serve: setup $(BENCH_FILES)  ## measure the HTTP service: latency, rate, overload, a killed worker
	@mkdir -p build
	@test -d build/data || $(BIN)/sentiscale prepare $(firstword $(BENCH_FILES)) --out build/data --quiet
	@test -d build/run || $(BIN)/sentiscale train build/data --out build/run --quiet
	@$(BIN)/python benchmarks/bench_serve.py build/run/model --reviews $(firstword $(BENCH_FILES)) --out build/serve $(BENCH_ARGS)

build/reviews.ft.txt: | setup
	@mkdir -p build
	@$(BIN)/sentiscale synth --rows 240000 --out $@ --quiet

clean:  ## remove caches, builds and the output of the demo
	rm -rf build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests $(wildcard benchmarks examples) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf .venv

# Written last, so that the next call repeats an interrupted installation.
.venv/.installed: pyproject.toml constraints.txt
	@PYTHON='$(PYTHON)' bash scripts/make-venv.sh .venv
	@echo "installing what constraints.txt names into .venv: one to three minutes"
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --upgrade pip
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[excel,fetch,export,serve]' --group dev
	@echo "compiling kernels with a small demonstration: half a minute"
	@$(BIN)/sentiscale demo --rows 1000 --out build/kernels --set train.epochs=0.1 --quiet >/dev/null
	@touch $@
	@echo "done: source .venv/bin/activate, then sentiscale --help"

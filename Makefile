# Four commands: make demo, make test, make lint, make parity. Each sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
PARITY := .venv-parity/bin
BENCH := .venv-bench/bin
# The tests run in parallel and on small arrays, where threads of the BLAS would only wait for each other.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help demo test test-slow sanitize sanitize-build lint format parity accuracy accuracy-translation speech bench bench-quick pictures clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 18

SOURCES := pyproject.toml CMakeLists.txt $(wildcard native/*)

.venv/installed: $(SOURCES)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,lint]'
	@touch $@

# PyTorch is the oracle of these tests, never a dependency of the package.
.venv-parity/installed: $(SOURCES)
	$(PYTHON) -m venv .venv-parity
	$(PARITY)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(PARITY)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The opponents of the benchmarks, each at a fixed version; and the library itself, built anew when its sources change.
.venv-bench/opponents: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check '.[bench]'
	@touch $@

.venv-bench/installed: .venv-bench/opponents $(shell find src native -type f -not -name '*.pyc' 2>/dev/null)
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	@touch $@

demo: .venv/installed  ## Do the main job on real input, in about four minutes
	$(BIN)/python scripts/demo.py

test: .venv/installed  ## Run the tests (a few minutes)
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto

test-slow: .venv/installed  ## Run the tests, with those that take longer
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto --slow

lint: .venv/installed  ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror native/*.h native/*.cpp

format: .venv/installed  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i native/*.h native/*.cpp

parity: .venv-parity/installed  ## Compare with PyTorch, live
	$(ONE_THREAD) ELMAN_REQUIRE_PARITY=1 $(PARITY)/python -m pytest tests/parity

accuracy: .venv-parity/installed  ## Train the same model here and in PyTorch (about 20 minutes), and compare
	$(PARITY)/python benchmarks/accuracy/tinyshakespeare.py --side elman
	$(PARITY)/python benchmarks/accuracy/tinyshakespeare.py --side torch
	$(PARITY)/python benchmarks/accuracy/tinyshakespeare.py --compare

speech: .venv/installed  ## Train the recognisers of AN4 and of spoken digits (about an hour), and measure them
	@mkdir -p build
	$(ONE_THREAD) $(BIN)/python benchmarks/accuracy/fsdd.py
	$(ONE_THREAD) $(BIN)/python benchmarks/accuracy/fsdd.py --parts speakers --out benchmarks/results/accuracy-fsdd-speakers.json
	$(ONE_THREAD) $(BIN)/python benchmarks/accuracy/an4.py --model build/an4.elman
	$(ONE_THREAD) $(BIN)/python benchmarks/accuracy/an4.py --decode build/an4.elman --out benchmarks/results/accuracy-an4-lm.json
	$(BIN)/python scripts/speech_tables.py

accuracy-translation: .venv-parity/installed  ## Train translators here and in PyTorch (about 15 minutes), and compare
	$(PARITY)/python benchmarks/accuracy/nmt_tips.py
	$(PARITY)/python benchmarks/accuracy/translation.py tatoeba --side elman
	$(PARITY)/python benchmarks/accuracy/translation.py tatoeba --side torch
	$(PARITY)/python benchmarks/accuracy/translation.py tatoeba --compare
	$(PARITY)/python benchmarks/accuracy/translation.py tanaka --side elman
	$(PARITY)/python benchmarks/accuracy/translation.py tanaka --side torch
	$(PARITY)/python benchmarks/accuracy/translation.py tanaka --compare

bench: .venv-bench/installed  ## Measure the speed beside four other libraries (about half an hour on an idle machine)
	$(BENCH)/python -m benchmarks.speed.run $(BENCH_OPTIONS)
	$(BENCH)/python scripts/readme_tables.py

bench-quick: .venv-bench/installed  ## Measure ten cells of it, in about a minute
	$(BENCH)/python -m benchmarks.speed.run --quick $(BENCH_OPTIONS)

sanitize: sanitize-build  ## Run every native kernel under the address and undefined-behaviour sanitizers
	build/sanitize/sanitize

sanitize-build: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check cmake ninja
	$(BIN)/cmake -G Ninja -S . -B build/sanitize -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DELMAN_SANITIZE=address,undefined
	$(BIN)/cmake --build build/sanitize

pictures: .venv/installed  ## Draw the pictures of docs/ anew
	$(BIN)/python scripts/make_pictures.py

clean:  ## Remove what the other commands made
	rm -rf .venv .venv-parity .venv-bench demo build dist .pytest_cache .mypy_cache .ruff_cache

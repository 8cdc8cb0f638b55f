# serve · test · check · bench · fuzz · chaos · soak · audit · tiny. Everything runs from .venv, which `install` makes once.
PYTHON ?= python3
MODEL  ?= tiny
HOST   ?= 127.0.0.1
PORT   ?= 8000

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: install install-dev serve test check format bench fuzz chaos soak audit tiny clean

serve: install
	@$(BIN)/pandagpt serve --model $(MODEL) --host $(HOST) --port $(PORT)

test: install-dev
	@$(BIN)/pytest

check: install-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/ty check
	@$(BIN)/pytest tests/test_architecture.py

format: install-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Prints a table; nothing is asserted, because a benchmark on a busy machine is no test.
bench: install-dev
	@$(BIN)/python -m tests.bench.throughput
	@$(BIN)/python -m tests.bench.peers --servers pandagpt,generate --rounds 1

# Broken requests and broken media at a live server; any wrong answer is printed with its number.
CASES ?= 100000
fuzz: install-dev
	@$(BIN)/python -m tests.fuzz --cases $(CASES)

# A live server whose processes are killed, stopped and made to fail, beside requests whose right
# answers are known. Any wrong one ends with status 1.
SECONDS ?= 60
chaos: install-dev
	@$(BIN)/python -m tests.chaos --seconds $(SECONDS)
	@$(BIN)/python -m tests.chaos --kills 10

# Memory, open files and pace of a live server after many requests.
REQUESTS ?= 10000
soak: install-dev
	@$(BIN)/python -m tests.soak --requests $(REQUESTS)

# Known holes in what is installed, by the package index's advisories; --strict: what could not be
# looked up fails too.
audit: install
	@$(PIP) pip-audit
	@$(BIN)/pip-audit --strict --disable-pip --no-deps -r constraints.txt

# Trains the bundled model again, from nothing but this repository, with fixed seeds.
tiny: install-dev
	@$(BIN)/pandagpt train tiny --out build/tiny

install: .venv/.installed
install-dev: .venv/.installed-dev clients/node/node_modules/.package-lock.json

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "pandagpt needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "[1/3] creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "[2/3] installing torch (the largest part)"
	@$(PIP) torch
	@echo "[3/3] installing the rest"
	@$(PIP) -e .
	@echo "compiling the decoder for this CPU, if there is a C++ compiler"
	@$(BIN)/python -c 'from pandagpt.model.cpu.compiler import library; library()'
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "installing the development tools"
	@$(PIP) -e '.[dev,clients]'
	@touch $@

# Tests of what has not been installed here skip themselves, and say why.
clients/node/node_modules/.package-lock.json: clients/node/package-lock.json
	@command -v npm > /dev/null \
	  && npm ci --prefix clients/node --silent --ignore-scripts --fetch-retries 1 --fetch-timeout 20000 \
	  && touch $@ || echo "no npm, or no way to its registry: the JavaScript clients are not tested"

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache clients/node/node_modules

# bandjax: one environment (.venv), and everything that is run in it. `make` lists the targets.

BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help env demo test test-slow lint bench clean

help:
	@echo "make env        make the virtual environment .venv and install bandjax with its tools"
	@echo "make demo       a fit from end to end, into demo_out/"
	@echo "make test       the tests (make test-slow: those left out of it)"
	@echo "make lint       ruff and pyright"
	@echo "make bench      benchmarks, into benchmarks/results/local.json"
	@echo "make clean      remove what the above left behind, but not .venv"

env: $(STAMP)

# made again when pyproject.toml changes; needs Python 3.12 or newer
$(STAMP): pyproject.toml
	@set -e; \
	if ! [ -x $(BIN)/python ]; then \
		for python in python3.12 python3; do \
			if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
				echo "$$python -m venv .venv"; $$python -m venv .venv; break; \
			fi; \
		done; \
	fi; \
	[ -x $(BIN)/python ] || { echo "bandjax needs Python 3.12 or newer, but neither python3.12 nor python3 is one." >&2; exit 1; }
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/bandjax demo --out demo_out

# most of the time is compiling, which this makes a quarter cheaper; test-slow compiles as users do
test: $(STAMP)
	XLA_FLAGS="$$XLA_FLAGS --xla_llvm_disable_expensive_passes=true" $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run --json benchmarks/results/local.json

clean:
	rm -rf demo_out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

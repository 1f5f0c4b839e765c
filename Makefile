# make demo   segments real photographs by words      make check  format, lint, types, import rules, docs
# make test   runs the tests, minutes                 make bench  measures again, without the hours of ablations
# make test-exhaustive  runs what make test leaves out: whole tables, several processes, kills
# make test-all         runs every test               make package  builds wheel and sdist and checks what is in them
# make fuzz   damages inputs of every reader for hours; findings stay in tests/fuzz/corpus
# make faults kills, full disks, two runs at once and damaged caches, for every command that writes
.PHONY: demo test test-exhaustive test-all check package bench fuzz faults clean
PYTHON ?= python3
BIN := .venv/bin
# Two OpenMP teams on shared cores spin each other to death; sleeping waits cost nothing.
export OMP_WAIT_POLICY = PASSIVE
export GOMP_SPINCOUNT = 0
# Tests are compiled once, also where bytecode is not to be kept.
export PYTHONDONTWRITEBYTECODE =

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -c "import importlib.util as u; assert u.find_spec('torchvision') is None, 'torchvision came along'"
	$(BIN)/python -c "import torch; torch.version.cuda and print('note: pip brought the CUDA build of torch; see docs/trouble.md for the CPU build')"
	touch $@

demo: .venv/installed
	$(BIN)/python examples/demo.py

# Idle workers take tests from busy ones; until then neighbours stay together, and share what a module builds.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

test: .venv/installed
	$(PYTEST) -m 'not exhaustive'

test-exhaustive: .venv/installed
	$(PYTEST) -m exhaustive

test-all: .venv/installed
	$(PYTEST)

fuzz: .venv/installed
	LEXISEG_FUZZ_EXAMPLES=$${EXAMPLES:-100000} LEXISEG_FUZZ_SEED=$$(date +%s) $(PYTEST) tests/fuzz

faults: .venv/installed
	$(BIN)/python benchmarks/faults.py --tries $${TRIES:-100}

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

package: .venv/installed
	$(BIN)/python scripts/check_package.py

bench: .venv/installed
	for script in $$(grep -l __main__ benchmarks/*/*.py | grep -v -e accuracy/simseg -e accuracy/simformer -e ablations); do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv demo site build

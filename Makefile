# make demo: set up and run the main job on simulated customers. make test: set up and check everything.
PYTHON ?= python3
BIN := .venv/bin
NICE := MLFLOW_DISABLE_TELEMETRY=true BENTOML_DO_NOT_TRACK=True

# Two processes test side by side, each a file at a time and on one thread; the slow tests measure, one by one.
TOGETHER := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-all lint lock clean

setup: .venv/.current

.venv/.current: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Perkwise needs Python 3.11 or newer, found %d.%d. Try: make PYTHON=python3.11 setup" % sys.version_info[:2])'
	@echo "Setting up .venv from requirements.lock (once; a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(NICE) $(BIN)/perkwise demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(NICE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TOGETHER)

test-all: test
	$(NICE) $(BIN)/python -m pytest -m slow

lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --output-file requirements.lock

clean:
	rm -rf .venv var build dist

# `make demo` and `make test` need git, Python 3.11 or later, make and a C compiler; the rest
# is installed into .venv, once, and again only when pyproject.toml or what is compiled changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILED := agent/wattline_agent/keeper/launch.c scheduler/wattline_scheduler/plan/search/native_loops.c
JOBS ?= 2
SEEDS ?= 10000
SECONDS ?= 540
# A file of pinned versions, as `.ci/run` names one; otherwise the newest that pyproject.toml allows.
LOCK ?=

.PHONY: help demo test unit properties examples examples-heavy check sim sim-mutants bench bench-peers fuzz fit docs bless lock clean tools
.DEFAULT_GOAL := help

help: ## show these lines
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

tools:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Python 3.11 or later is missing; install it with: apt install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old, 3.11 or later is needed;" \
	       "name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing; install it with: apt install python3-venv" >&2; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { \
	  echo "A C compiler is missing; install it with: apt install gcc libc6-dev" >&2; exit 1; }

# pip's own output is kept quiet unless it fails; torch alone makes the first time take minutes.
$(STAMP): pyproject.toml $(COMPILED) $(LOCK) | tools
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (some minutes the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' \
	  $(if $(LOCK),--constraint $(LOCK))
	@touch $@

demo: $(STAMP) ## run a simulated site with real work, faults included, and report
	@$(BIN)/wattline demo $(ARGS)

test: $(STAMP) ## all tests
	@$(BIN)/python -m pytest -n $$(($(JOBS) + 1)) --dist loadgroup --spare-worker -q $(ARGS)

unit: $(STAMP) ## tests without processes: unit, property, scenarios, hygiene
	@$(BIN)/python -m pytest -n $(JOBS) -q tests/unit tests/property tests/scenarios tests/hygiene $(ARGS)

properties: $(STAMP) ## property tests with new random examples at each run
	@$(BIN)/python -m pytest -n $(JOBS) -q --hypothesis-profile=random tests/property $(ARGS)

examples: $(STAMP) ## run what is in examples/training on a simulated site, with interruptions
	@$(BIN)/python -m pytest -n 0 -v tests/e2e/test_training_examples.py \
	  tests/integration/examples/test_training_job.py $(ARGS)

examples-heavy: $(STAMP) ## Lightning, Hugging Face, MLflow, Ray too (installs their extras)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[examples,mlflow,ray]'
	@$(BIN)/python -m pytest -n 0 -v tests/e2e/test_training_examples.py \
	  tests/e2e/test_mlflow_export.py $(ARGS)

check: $(STAMP) ## lint, format, types, import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy native protocol agent scheduler runtime cli tui sim lab examples tests bench
	@$(BIN)/lint-imports

sim: $(STAMP) ## SEEDS seeds of the deterministic fleet simulation
	@$(BIN)/wattline sim seeds --seeds $(SEEDS)

sim-mutants: $(STAMP) ## remove the protocol's rules one by one: the simulation must notice
	@$(BIN)/wattline sim mutants

bench: $(STAMP) ## measure, and print the table
	@$(BIN)/wattline bench $(ARGS)

bench-peers: $(STAMP) ## compare the gateway with other servers of models (installs the extra peers)
	@$(BIN)/pip install -q -e '.[peers]'
	@$(BIN)/wattline bench gateway --beside fastapi,mosec,mosec-batched,litserve $(ARGS); noop=$$?; \
	$(BIN)/wattline bench gateway --model minilm --beside fastapi,mosec,litserve $(ARGS) && exit $$noop

fuzz: $(STAMP) ## feed every parser of outside bytes for SECONDS seconds, and measure its growth
	@PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) $(ARGS)

fit: $(STAMP) ## fit the model constants to the traces in $$WATTLINE_TRACES
	@$(BIN)/python -m wattline_lab.fit $(ARGS)
	@$(BIN)/python -m wattline_lab.fit.plant $(ARGS)

docs: $(STAMP) ## write the generated pages again
	@$(BIN)/python -m wattline.docpage docs/cli.md
	@$(BIN)/python -m wattline.problempage docs/problems.md

bless: docs ## accept new pictures and stored outputs, after looking at them
	@$(BIN)/python -m pytest -q tests/snapshots tests/scenarios --snapshot-update

lock: tools ## renew requirements.lock: the newest versions that pyproject.toml allows
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' >requirements.lock
	@rm -rf build/lock

clean: ## remove everything that was made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# For developers of benchy: tests, checks, benchmarks, and cleaning up.

python := .venv/bin/python
scripts := $(wildcard bin/*) lib/launch .ci/run $(wildcard tests/*.sh tests/*/*.sh)

.PHONY: test test-real test-all test-faults test-properties bench lint schema clean distclean lock-main

# `make test` runs the tests of logic and the quickstart with real vLLM, in minutes. `make test-all`
# runs the others: real vLLM, Slurm, a browser, faults, long series. Tests mostly wait for processes,
# so three run at a time; tests that cannot run side by side form groups (tests/conftest.py).
# ARGS replace the selection of tests and run one at a time: make test ARGS='tests/unit -k plan'.
pytest = $(python) -m pytest $(if $(ARGS),$(ARGS),-n 3 --no-loadscope-reorder $(1))
test: $(dev)
	@$(call pytest,-m 'not slow' tests)

test-all: $(dev)
	@$(call pytest,-m slow tests)

# The part of `make test-all` with real vLLM, Slurm and a browser.
test-real: $(dev)
	@$(call pytest,-m slow tests/e2e tests/slurm tests/page)

# Kills at random moments, and before each change to a file. The full run takes an hour and a half.
# KILLS=n: rounds. POINTS=n: how many of the changes. STARTS=n: server starts during which another
# user takes the port. SEED=n: the seed of the random series.
test-faults: $(dev)
	@BENCHY_SUSPEND=30 BENCHY_KILLS="$${KILLS:-200}" BENCHY_POINTS="$${POINTS:-all}" \
	BENCHY_STARTS="$${STARTS:-1000}" \
	$(if $(SEED),BENCHY_SEED="$$SEED") \
	$(python) -m pytest -s --timeout 7200 tests/faults $(ARGS)

# Property-based tests of configurations. CASES=n: generated files. SEED=n: the seed.
test-properties: $(dev)
	@BENCHY_CASES="$${CASES:-1000000}" $(if $(SEED),BENCHY_SEED="$$SEED") \
	$(python) -m pytest -s --timeout 14400 tests/properties $(ARGS)

lint: $(dev)
	@$(python) -m ruff check lib tests
	@$(python) -m ruff format --check --quiet lib tests
	@$(python) -m mypy
	@.venv/bin/shellcheck $(scripts)
	@bin/schema --check
	@$(MAKE) -n --warn-undefined-variables help 2>&1 >/dev/null | { ! grep -i warning; }

# Writes docs/schema/*.json, docs/configuration.md and docs/knobs.md from the code in lib/benchy.
schema: $(tools)
	@bin/schema

# Measures benchy's overhead over the tools that it uses. QUICK=1: a smaller environment. ROUNDS=3.
bench: $(dev)
	@$(python) tests/bench/bench.py $(if $(ROUNDS),--rounds "$$ROUNDS")

# Updates uv.lock. AS_OF=2026-11-09: as of that day, such as the cutoff of the release in
# pyproject.toml (docs/releases.md). Without it: as of today.
lock-main: $(tools)
	@uv=$$(command -v .uv/bin/uv || command -v uv) && "$$uv" lock --upgrade \
	$(if $(AS_OF),--exclude-newer "$(AS_OF)T00:00:00Z")

# Refused during a run. Without a Python in .venv, nothing can be running.
clean:
	@[[ ! -x .venv/bin/python ]] || bin/idle '$(or $(filter distclean,$(MAKECMDGOALS)),clean)'
	rm -rf build run logs

distclean: clean
	rm -rf venvs .venv .uv

help::
	@echo '  make test, make lint          tests of logic and the quickstart; linters'
	@echo '  make test-all                 all other tests: real vLLM, Slurm, a browser, faults (30 min)'
	@echo '  make test-real                only those with real vLLM, Slurm and a browser'
	@echo '  make test-faults [KILLS=200]  kill runs at random moments [SEED=n]'
	@echo '       [POINTS=n|all]           and before each change to a file'
	@echo '  make test-properties [CASES=n] [SEED=n]  property-based tests of configurations'
	@echo '  make bench [QUICK=1]          measure benchy against bare uv, pip and vLLM [ROUNDS=3]'
	@echo '  make clean                    delete plans, logs and answers of interrupted tasks'
	@echo '  make distclean                also delete environments, their locks, .venv and uv'

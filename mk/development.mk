# For benchy's own developers: tests, checks, benchmarks, and cleaning up.

python := .venv/bin/python
scripts := $(wildcard bin/*) lib/launch .ci/run $(wildcard tests/*.sh tests/*/*.sh)

.PHONY: test test-real test-all test-faults test-properties bench lint schema clean distclean lock-main

# ARGS go to pytest: make test ARGS='tests/unit -k plan'. Most tests are about real processes, on a
# machine that may be slow just then: what fails once is tried once more, and both are reported.
# What has directories and leases of its own runs three at a time, as it waits more than it computes;
# the browser and the harness run beside Slurm, which waits most; real vLLM runs alone.
logic := tests/unit tests/golden tests/properties tests/build tests/faults
test: $(dev)
	@$(python) -m pytest --reruns 1 $(if $(ARGS),$(ARGS),-n 3 $(logic))

beside := tests/page tests/slurm tests/e2e/test_harness_facts.py tests/e2e/test_preview.py
test-real: $(dev)
	@$(python) -m pytest --reruns 1 -n 2 --dist loadgroup $(beside)
	@$(python) -m pytest --reruns 1 tests/e2e $(addprefix --ignore=,$(filter %.py,$(beside)))

test-all: test-real test

# Kills at random moments, and in front of each change to a file, in full: an hour and a half.
# KILLS=n rounds, POINTS=n of the changes, STARTS=n servers whose port another user takes, SEED= of
# another series.
test-faults: $(dev)
	@BENCHY_SUSPEND=30 BENCHY_KILLS="$${KILLS:-200}" BENCHY_POINTS="$${POINTS:-all}" \
	BENCHY_STARTS="$${STARTS:-1000}" \
	$(if $(SEED),BENCHY_SEED="$$SEED") \
	$(python) -m pytest -s --timeout 7200 tests/faults $(ARGS)

# Configurations of every kind and none: CASES=n files, SEED= of another series.
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

# docs/schema/*.json and docs/configuration.md from lib/benchy/config/schema.py
schema: $(tools)
	@bin/schema

# What benchy adds to the tools that it stands on. QUICK=1: a smaller environment. ROUNDS=3.
bench: $(dev)
	@$(python) tests/bench/bench.py $(if $(ROUNDS),--rounds "$$ROUNDS")

# uv.lock anew, as of the week of the release that pyproject.toml names (AS_OF=2026-10-25).
lock-main: $(tools)
	@uv=$$(command -v .uv/bin/uv || command -v uv) && "$$uv" lock --upgrade \
	$(if $(AS_OF),--exclude-newer "$(AS_OF)T00:00:00Z")

# Not while a run is at it. Without a Python in .venv there is none.
clean:
	@[[ ! -x .venv/bin/python ]] || bin/idle '$(or $(filter distclean,$(MAKECMDGOALS)),clean)'
	rm -rf build run logs

distclean: clean
	rm -rf venvs .venv .uv

help::
	@echo '  make test, make lint          tests that need no vLLM; all checks [ARGS="…" for pytest]'
	@echo '  make test-real, make test-all   real vLLM, Slurm, a browser; with make test: an hour'
	@echo '  make test-faults [KILLS=200]  kills at random moments under -j; [SEED=n] repeats;'
	@echo '       [POINTS=n|all]           kills in front of each change to a file'
	@echo '  make test-properties [CASES=]  configs of every kind, a million of them; [SEED=n]'
	@echo '  make bench [QUICK=1]          building and a no-op beside bare uv and pip [ROUNDS=3]'
	@echo '  make clean                    plans, logs; never results or environments'
	@echo '  make distclean                environments, .venv and uv as well'
	@echo ''
	@echo '  V=1 shows commands, V=2 also why; local.mk may set knobs; -k goes on past failures'

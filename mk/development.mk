# For developers of benchy: tests, checks, benchmarks, and cleaning up.

python := .venv/bin/python
scripts := $(wildcard bin/*) lib/launch .ci/run $(wildcard tests/*.sh tests/*/*.sh)

.PHONY: test test-real test-all test-faults test-properties bench lint schema clean distclean lock-main

# `make test` is everything about logic and the quickstart with real vLLM: minutes. `make test-all` is
# the rest: real vLLM, Slurm, a browser, faults, long series. Tests mostly wait for processes, so
# three run at a time; those that cannot run side by side form groups (tests/conftest.py).
# ARGS go to pytest: make test ARGS='tests/unit -k plan'.
pytest = $(python) -m pytest $(if $(ARGS),$(ARGS),-n 3 --no-loadscope-reorder $(1))
test: $(dev)
	@$(call pytest,-m 'not slow' tests)

test-all: $(dev)
	@$(call pytest,-m slow tests)

# The part of `make test-all` with real vLLM, Slurm and a browser.
test-real: $(dev)
	@$(call pytest,-m slow tests/e2e tests/slurm tests/page)

# Kills at random moments, and before each change to a file. The full run takes an hour and a half.
# KILLS=n rounds, POINTS=n of the changes, STARTS=n servers whose port another user takes, SEED= for
# another random series.
test-faults: $(dev)
	@BENCHY_SUSPEND=30 BENCHY_KILLS="$${KILLS:-200}" BENCHY_POINTS="$${POINTS:-all}" \
	BENCHY_STARTS="$${STARTS:-1000}" \
	$(if $(SEED),BENCHY_SEED="$$SEED") \
	$(python) -m pytest -s --timeout 7200 tests/faults $(ARGS)

# Property-based tests of configurations: CASES=n files, SEED= for another random series.
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

# Writes docs/schema/*.json and docs/configuration.md from the classes in lib/benchy/config/schema.py.
schema: $(tools)
	@bin/schema

# Measures what benchy adds to the tools that it uses. QUICK=1: a smaller environment. ROUNDS=3.
bench: $(dev)
	@$(python) tests/bench/bench.py $(if $(ROUNDS),--rounds "$$ROUNDS")

# Updates uv.lock, as of the week of the release that pyproject.toml names (AS_OF=2026-10-25).
lock-main: $(tools)
	@uv=$$(command -v .uv/bin/uv || command -v uv) && "$$uv" lock --upgrade \
	$(if $(AS_OF),--exclude-newer "$(AS_OF)T00:00:00Z")

# Refused while a run is under way. Without a Python in .venv there can be none.
clean:
	@[[ ! -x .venv/bin/python ]] || bin/idle '$(or $(filter distclean,$(MAKECMDGOALS)),clean)'
	rm -rf build run logs

distclean: clean
	rm -rf venvs .venv .uv

help::
	@echo '  make test, make lint          logic and the quickstart; all checks [ARGS="…" for pytest]'
	@echo '  make test-all                 the rest: real vLLM, Slurm, a browser, faults; 30 minutes'
	@echo '  make test-real                of these, real vLLM, Slurm and the browser'
	@echo '  make test-faults [KILLS=200]  kills at random moments under -j; [SEED=n] repeats;'
	@echo '       [POINTS=n|all]           kills in front of each change to a file'
	@echo '  make test-properties [CASES=]  configs of every kind, a million of them; [SEED=n]'
	@echo '  make bench [QUICK=1]          building and a no-op beside bare uv and pip [ROUNDS=3]'
	@echo '  make clean                    plans, logs; never results or environments'
	@echo '  make distclean                environments, .venv and uv as well'
	@echo ''
	@echo '  V=1 shows commands, V=2 also why; local.mk may set knobs; -k goes on past failures'

# How commands run and how they are displayed. Included by every makefile of benchy.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
ifneq ($(findstring i,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),)
$(error -i ignores failures; use -k to continue after them)
endif

# Knobs that bin/* read from the environment. They hold free text of users (paths, globs), which
# Make must not expand into a recipe: a shell would interpret it.
free := CHECK CONFIG LIMIT MODELS TASKS TEST SET FALLBACK FORMAT VERSION ENGINE TARGET YES \
	OFFLINE CPU_SLOTS GPU_BUSY TASK_JOBS VENV_JOBS FETCH_JOBS QUICK ROUNDS PYTHON V WHEELHOUSE DIR \
	FROM TO DEEP DISK CUTOFF SHARE A B CASES KILLS SEED NOTIFY REPO SAMPLES PUBLIC TASK FLIPS \
	ANYWAY MODEL NAME PROVIDER LAUNCHER BUILD_ON NODE_SCRATCH SEARCH STARTS POINTS
# Make would expand values from the command line or the environment; here TASKS='$$(shell …)' is
# plain text. A sub-make gets the knobs from the environment, because it would also expand them if
# they came in MAKEFLAGS.
$(foreach k,$(free),$(if $(filter command environment,$(origin $k)),$(eval override $k := $$(value $k))))
export $(free)
MAKEOVERRIDES :=

# The knobs that shape a plan are stored beside it, as Kbuild stores command lines: a changed value
# makes the plan out of date. bin/plan writes them last. $(value) and the environment keep their
# text away from any shell. one: set if the plan covers a single config.
one ?=
knobs := $(foreach k,LIMIT TASKS SET FALLBACK $(if $(one),CONFIG),$(k)=$(value $(k)))
export BENCHY_KNOBS := $(knobs)

# $(call run,TAG,command): prints one line for each job; V=1 prints the command, V=2 also the
# changed prerequisites. You can paste the command as it is.
V ?= 0
ifeq ($(filter 1 2,$(V)),)
run = @printf '  %-8s%s\n' '$(1)' '$@' >&2; $(2)
else ifeq ($(V),1)
run = $(2)
else
run = $(if $(?),@printf '  # %s: newer or missing: %s\n' '$@' '$(wordlist 1,9,$?)' >&2)$(newline)$(2)
endif

define newline


endef

# planned: updates the plan. It does not let Make call bin/plan (mk/graph.mk), as Make would add
# lines of its own below errors in the configs. made: builds the target of the plan that `goal` names.
planned = { $(MAKE) -q -f mk/graph.mk look=1 planned 2>/dev/null || bin/plan; }
made = grep -qF -- "$$goal: " build/rules.mk || exec bin/knobs "$$goal"; \
	$(MAKE) -f mk/graph.mk frozen=1 "$$goal"

# When bin/run queries the stale targets (with -n), a recipe only prints its target.
ifdef question
run = $(info stale $@)@:
endif

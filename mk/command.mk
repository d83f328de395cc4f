# How commands run and how they are shown. Included by every makefile of benchy.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
ifneq ($(findstring i,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),)
$(error -i takes every failure for a success; use -k to go on past failures)
endif

# Knobs that bin/* read from the environment. They hold a person's free text (paths, globs), which
# Make must not expand into a recipe: a shell would read it.
free := CHECK CONFIG LIMIT MODELS TASKS TEST SET FALLBACK FORMAT VERSION ENGINE TARGET YES \
	OFFLINE CPU_SLOTS GPU_BUSY TASK_JOBS VENV_JOBS FETCH_JOBS QUICK ROUNDS PYTHON V WHEELHOUSE DIR \
	FROM TO DEEP DISK CUTOFF SHARE A B CASES KILLS SEED NOTIFY REPO SAMPLES PUBLIC TASK FLIPS \
	ANYWAY MODEL NAME PROVIDER LAUNCHER BUILD_ON NODE_SCRATCH SEARCH STARTS POINTS
# Make would expand what a command line or the environment gives: TASKS='$$(shell …)' is a text here.
# A make below this one has them from the environment: from MAKEFLAGS it would expand them, too.
$(foreach k,$(free),$(if $(filter command environment,$(origin $k)),$(eval override $k := $$(value $k))))
export $(free)
MAKEOVERRIDES :=

# The knobs that shape a plan are stored beside it, as Kbuild stores a command line: another value is
# a reason to plan again. bin/plan writes them when it is done. $(value) and the environment keep
# their text away from any shell. one: a plan of a single config.
one ?=
knobs := $(foreach k,LIMIT TASKS SET FALLBACK $(if $(one),CONFIG),$(k)=$(value $(k)))
export BENCHY_KNOBS := $(knobs)

# $(call run,TAG,command): one line a job; V=1 shows the command, V=2 also what made it necessary.
# The command is pasteable as it is.
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

# Brings the plan up to date. Where Make itself had bin/plan do it (mk/graph.mk) and the configs have
# mistakes, Make's own lines would stand below them. made: one file of the plan; `goal` names it.
planned = { $(MAKE) -q -f mk/graph.mk look=1 planned 2>/dev/null || bin/plan; }
made = grep -qF -- "$$goal: " build/rules.mk || exec bin/knobs "$$goal"; \
	$(MAKE) -f mk/graph.mk frozen=1 "$$goal"

# Asked which targets are stale (bin/run does, with -n), a recipe says its target and no more.
ifdef question
run = $(info stale $@)@:
endif

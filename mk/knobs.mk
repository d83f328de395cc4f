# Checks the command line: an unknown goal, a misspelled knob, or a knob that the goal does not take
# ends make before anything starts. Included first, because command.mk overrides the knobs, which
# changes their origin. Starts no process if there is nothing to check. A sub-make does not check its
# variables, which come from the make above it.

goals := help version bootstrap eval results fetch new tasks preview plan report compare publish status \
	watch why doctor gc venvs venv lock list-envs env-info rebuild-venv rm-venv prune-venvs survey \
	flags-diff wheelhouse test test-real test-all test-faults test-properties bench lint schema \
	clean distclean lock-main
given := $(strip $(if $(filter-out 0,$(MAKELEVEL)),,\
	$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v))))
asked := $(filter-out bootstrap .venv/%,$(MAKECMDGOALS))
unknown := $(filter-out $(goals) results/% venvs/% .venv/%,$(MAKECMDGOALS))
ifneq ($(if $(given)$(unknown),$(asked)),)
.PHONY: .known-knobs
.known-knobs: export BENCHY_GIVEN := $(given)
.known-knobs: export BENCHY_GOALS := $(asked)
.known-knobs:
	+@bin/knobs
# Every goal that does something depends on one of these. The goals themselves cannot be named here:
# Make would parse what the user typed as a rule.
.venv/.tools .venv/.dev: | .known-knobs
endif
ifneq ($(unknown),)
export BENCHY_UNKNOWN := $(unknown)
export BENCHY_KNOWN := $(goals)
# local.mk needs its own recipe, or .DEFAULT would also apply to it.
local.mk: ;
.DEFAULT: ; +@bin/knobs
endif

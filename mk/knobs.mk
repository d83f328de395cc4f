# The command line: a goal that does not exist, a knob that is misspelt or that the goal does not take,
# stop it before anything is begun. Included first, for the knobs' origin: command.mk makes texts of
# them. With nothing to check it costs nothing. What a Make above this one was given comes the same
# way, and is its own business.

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
# Every goal that does something needs one of these. The goals themselves can't be named here: Make
# would read what a person typed as a rule.
.venv/.tools .venv/.dev: | .known-knobs
endif
ifneq ($(unknown),)
export BENCHY_UNKNOWN := $(unknown)
export BENCHY_KNOWN := $(goals)
# Without a recipe of its own this one would be for it, too.
local.mk: ;
.DEFAULT: ; +@bin/knobs
endif

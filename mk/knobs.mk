# The knobs on Make's command line: a misspelt one, or one that the goal does not take, stops it before
# anything is begun. Included first, for their origin: command.mk makes texts of them. With no knob it
# costs nothing. What a Make above this one was given comes the same way, and is its own business.

given := $(strip $(if $(filter-out 0,$(MAKELEVEL)),,\
	$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v))))
asked := $(filter-out bootstrap .venv/%,$(MAKECMDGOALS))
ifneq ($(if $(given),$(asked)),)
.PHONY: .known-knobs
.known-knobs: export BENCHY_GIVEN := $(given)
.known-knobs: export BENCHY_GOALS := $(asked)
.known-knobs:
	+@bin/knobs
# Every goal that does something needs one of these. The goals themselves can't be named here: Make
# would read what a person typed as a rule.
.venv/.tools .venv/.dev: | .known-knobs
endif

# The graph of the results that configs/ request. It runs on its own (make -f mk/graph.mk): bin/run
# queries it for stale targets and builds with it. dir: the plan's directory. one: plan only the
# file that CONFIG names.

include mk/command.mk

dir ?= build
look ?=

# frozen: use the existing plan, even if configs were edited since. A run builds each target with the
# plan that requested it, so that a half-edited config stops no model.
ifndef frozen
ifneq ($(file <$(dir)/knobs),$(knobs))
$(dir)/rules.mk: changed_knobs
endif

# Never use -include: if planning fails, it would leave the old rules in force, and so would -k.
# look: only check whether the plan is out of date (status 2). The caller then runs bin/plan itself,
# which reports errors without Make's own lines below them.
MAKEFLAGS += -S
$(dir)/rules.mk:
	@$(if $(look),false,bin/plan --dir $(dir) $(if $(one),--config "$$CONFIG"))
endif
.PHONY: changed_knobs

include $(dir)/rules.mk

.PHONY: planned all environments
planned: ;
all: $(all) $(retry)
environments: $(environments)

# The graph of what configs/ ask for. Run by itself (make -f mk/graph.mk): bin/run asks it what is
# stale and has it build. dir: where the plan lies. one: plan the file that CONFIG names, alone.

include mk/command.mk

dir ?= build
look ?=

# frozen: go by the plan as it lies there, whatever was edited since. What a run builds goes by the
# plan that said so; a config that somebody is in the middle of editing stops no model.
ifndef frozen
ifneq ($(file <$(dir)/knobs),$(knobs))
$(dir)/rules.mk: changed_knobs
endif

# Never -include: with it, a plan that fails would leave the old rules in force, and so would -k.
# look: only find out whether the plan is old (status 2). Who asks then calls bin/plan itself, which
# tells mistakes without Make's own lines below them.
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

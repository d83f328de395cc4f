# The graph of what configs/ ask for. Run by itself (make -f mk/graph.mk): bin/run asks it what is
# stale and has it build. dir: where the plan lies. one: plan the file that CONFIG names, alone.

include mk/command.mk

dir ?= build
one ?=

# The knobs that shape the plan are stored beside it, as Kbuild stores a command line: another
# value is a reason to plan again. bin/plan writes them when it is done. $(value) and the
# environment keep their text away from any shell.
knobs := $(foreach k,LIMIT TASKS SET FALLBACK $(if $(one),CONFIG),$(k)=$(value $(k)))
export BENCHY_KNOBS := $(knobs)
ifneq ($(file <$(dir)/knobs),$(knobs))
$(dir)/rules.mk: changed_knobs
endif
.PHONY: changed_knobs

# Never -include: with it, a plan that fails would leave the old rules in force.
$(dir)/rules.mk:
	@bin/plan --dir $(dir) $(if $(one),--config "$$CONFIG")

include $(dir)/rules.mk

.PHONY: planned all environments
planned: ;
all: $(all) $(retry)
environments: $(environments)

# Settings and includes only. The goals are in mk/, one file per topic. The rules of results and
# environments are in build/rules.mk, which bin/plan generates from configs/.
# `make` without a goal prints help.

ifeq ($(filter 4.3% 4.4% 4.5% 4.6% 4.7% 4.8% 4.9% 5.%,$(MAKE_VERSION)),)
$(error benchy needs GNU Make 4.3 or newer; this is $(MAKE_VERSION))
endif

include mk/knobs.mk
-include local.mk

include mk/command.mk
include mk/bootstrap.mk
include mk/results.mk
include mk/environments.mk
include mk/development.mk
include mk/help.mk

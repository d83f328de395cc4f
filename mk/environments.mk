# Environments: one directory for each set of packages. bin/venv does the work.

.PHONY: venvs venv list-envs env-info rebuild-venv rm-venv prune-venvs survey

venvs: $(tools)
	@$(MAKE) -f mk/graph.mk environments

venvs/%: $(tools) FORCE
	@$(MAKE) -f mk/graph.mk $@

venv: $(tools)
	+@bin/venv create --version "$$VERSION" $(if $(ENGINE),--engine "$$ENGINE")

list-envs: $(tools)
	@$(MAKE) -s -f mk/graph.mk planned
	@bin/venv list $(if $(filter json,$(FORMAT)),--format json)

env-info: $(tools)
	@bin/venv info --version "$$VERSION" $(if $(ENGINE),--engine "$$ENGINE") \
	$(if $(filter json,$(FORMAT)),--format json)

rebuild-venv: $(tools)
	@bin/venv remove --version "$$VERSION" $(if $(ENGINE),--engine "$$ENGINE")
	@bin/venv create --version "$$VERSION" $(if $(ENGINE),--engine "$$ENGINE")

rm-venv: $(tools)
	@bin/venv remove --version "$$VERSION" $(if $(ENGINE),--engine "$$ENGINE")

prune-venvs: $(tools)
	@$(MAKE) -s -f mk/graph.mk planned
	@bin/venv prune $(if $(YES),--yes)

# DEEP=1 builds every release of the range, DEEP=some the last of each minor release and both ends
# of every repair's range. It goes on where it was stopped.
survey: $(tools)
	@bin/survey $(if $(ENGINE),--engine "$$ENGINE") $(if $(FROM),--from "$$FROM") \
	$(if $(TO),--to "$$TO") $(if $(DISK),--disk "$$DISK") \
	$(if $(DEEP),--deep $(if $(filter some,$(DEEP)),some,all))

help::
	@echo '  make venvs                    every environment that some config needs'
	@echo '  make venv VERSION=0.8.0       one environment [ENGINE=vllm]'
	@echo '  make list-envs [FORMAT=json]  every environment: state, release, users, size'
	@echo '  make env-info VERSION=0.8.0   one of them in detail [FORMAT=json]'
	@echo '  make rebuild-venv VERSION=…   build it anew; rm-venv: remove it'
	@echo '  make prune-venvs [YES=1]      remove those that no config needs'
	@echo '  make survey [FROM=… TO=…]     does each release still resolve? to docs/releases.md'
	@echo '       [DEEP=1] [DISK=25]       and build? one at a time, within DISK GB; DEEP=some'

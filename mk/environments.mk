# Environments: one directory for each set of packages. bin/venv builds and manages them.

# Selects the environment. The text of a knob reaches the shell as a variable, never as code.
which = --version "$$VERSION" $(if $(ENGINE),--engine "$$ENGINE") \
	$(if $(CUTOFF),--cutoff "$$CUTOFF")

.PHONY: venvs venv lock list-envs env-info rebuild-venv rm-venv prune-venvs survey \
	flags-diff wheelhouse

# On a terminal or with BUILD_ON, bin/run has Make build them and shows the progress of each.
venvs: $(tools)
	@bin/health
	+@$(MAKE) -q -f mk/graph.mk look=1 environments 2>/dev/null || $(planned); \
	if $(MAKE) -q -f mk/graph.mk frozen=1 environments 2>/dev/null; then \
	echo 'venvs: every environment is ready'; \
	elif [[ -t 2 || $${BUILD_ON:-login} != login ]]; then exec bin/run venvs; \
	else $(MAKE) -f mk/graph.mk frozen=1 environments; fi

venvs/%: export goal = $@
venvs/%: $(tools) FORCE
	+@$(planned); $(made)

venv: $(tools)
	+@bin/venv create $(which)

lock: $(tools)
	@bin/venv lock --fresh $(which)

list-envs: $(tools)
	+@$(planned)
	@bin/venv list $(if $(FORMAT),--format "$$FORMAT")

env-info: $(tools)
	@bin/venv info $(which) $(if $(FORMAT),--format "$$FORMAT")

rebuild-venv: $(tools)
	@bin/venv create --anew $(which)

rm-venv: $(tools)
	@bin/venv remove $(which)

prune-venvs: $(tools)
	@bin/health
	+@$(planned)
	@bin/venv prune

flags-diff: $(tools)
	@bin/flags diff $(if $(ENGINE),--engine "$$ENGINE") $(if $(FORMAT),--format "$$FORMAT") \
	-- "$$A" "$$B"

wheelhouse: $(tools)
	+@$(planned)
	@bin/wheelhouse $(if $(DIR),--dir "$$DIR")

# DEEP=1 builds every release of the range, DEEP=some the last of each minor release and both ends
# of every repair's range. An interrupted survey resumes.
survey: $(tools)
	@bin/survey $(if $(ENGINE),--engine "$$ENGINE") $(if $(FROM),--from "$$FROM") \
	$(if $(TO),--to "$$TO") $(if $(DISK),--disk "$$DISK")

help::
	@echo '  make venvs                    build all environments that configs need [BUILD_ON=slurm]'
	@echo '       [VENV_JOBS=2]            concurrent builds on this machine'
	@echo '  make venv VERSION=0.8.0       build one environment [ENGINE=vllm]'
	@echo '       [CUTOFF=2025-04-01|none] packages as of this day instead of the release'"'"'s (none: today)'
	@echo '  make lock VERSION=0.8.0       resolve again and show the difference [ENGINE=… CUTOFF=…]'
	@echo '       [SHARE=1]                also write configs/locks/ENV.lock, for a team'
	@echo '  make list-envs [FORMAT=json]  list environments: state, size, cutoff, users …'
	@echo '  make env-info VERSION=0.8.0   show one environment in detail [FORMAT=json]'
	@echo '  make rebuild-venv VERSION=…   rebuild it; rm-venv: remove it'
	@echo '  make prune-venvs [YES=1]      remove environments that no config needs; asks first'
	@echo '  make flags-diff A=0.8.5 B=0.10.2  options that B adds, lacks or changes [FORMAT=json]'
	@echo '  make wheelhouse [DIR=folder]  collect all files of the locks, for OFFLINE=1 [MODELS=…]'
	@echo '  make survey [FROM=… TO=…]     check that each release resolves; writes docs/releases.md'
	@echo '       [DEEP=1] [DISK=25]       also build them, within DISK GB; DEEP=some: a selection'

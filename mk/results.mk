# Results: the goals that evaluate. bin/run runs the pipeline (stale results, environments,
# servers); mk/graph.mk decides what is stale.

.PHONY: eval results fetch new tasks preview plan report compare publish status watch why doctor gc

eval: $(tools)
	+@exec bin/run eval

# If everything is up to date, one query to Make is enough, and no Python starts. BENCHY_PLAN passes
# its exit status to bin/run: 1 means that the plan is current and results are stale. A plan dated in
# the future (the clock was ahead) would look newer than every edit, so it is deleted; /proc/$$ has the
# current time. If run/board/run has an entry of this host, a run is in progress or was killed, so
# bin/run decides.
quick := $(if $(MODELS)$(TASKS)$(SET)$(LIMIT),,yes)
results: $(tools)
	+@status=; [[ ! build/rules.mk -nt /proc/$$$$ ]] || rm -f build/rules.mk; \
	[[ -z "$(quick)" ]] || compgen -G "run/board/run/$$(</proc/sys/kernel/hostname)[.+]*" >/dev/null || \
	if $(MAKE) -q -f mk/graph.mk look=1 all 2>/dev/null; then status=0; else status=$$?; fi; \
	case $$status in \
	0) echo 'results: everything is up to date'; \
	   [[ -e results/index.html && -e build/reported ]] || bin/report ;; \
	*) BENCHY_PLAN=$$status exec bin/run results ;; \
	esac

fetch: $(tools)
	+@exec bin/run fetch

# Builds a single target by its path, as in any makefile.
results/%: export goal = $@
results/%: $(tools) FORCE
	+@$(planned); $(made)

new: $(tools)
	@bin/new

tasks: $(tools)
	@bin/tasks

preview: $(tools)
	@bin/preview

plan: $(tools)
	@bin/plan $(if $(CONFIG),--config "$$CONFIG") --show "$${FORMAT:-text}"

# If the configs have errors, the last plan decides what is stale.
report: $(tools)
	+@$(planned) || echo '  REPORT  by the last plan' >&2
	@bin/report

compare: $(tools)
	@bin/compare $(if $(FORMAT),--format "$$FORMAT")

# Checks REPO first, because writing a report is slow.
publish: $(tools)
	@bin/publish --check
	@$(MAKE) report
	@bin/publish

status: $(tools)
	@bin/status $(if $(FORMAT),--format "$$FORMAT")

watch: $(tools)
	@bin/status --watch

why: $(tools)
	@bin/why

gc: $(tools)
	+@$(planned)
	@bin/gc

doctor: $(tools)
	@bin/doctor $(if $(FORMAT),--format "$$FORMAT")

FORCE:
.PHONY: FORCE

help::
	@echo '  make eval CONFIG=path         evaluate one model; the file can be in any directory'
	@echo '       [LIMIT=n]                n requests per task, with results in results/limit-n'
	@echo '       [TASKS="a b"]            these tasks; [TEST=1] only start the server and test it'
	@echo '       [SET="key=value …"]      options that override the config'
	@echo '  make -j results               evaluate every model, as many at once as there are GPUs'
	@echo '       [MODELS="glob …"]        these models; [TASKS="a b"] these tasks; [LIMIT=n]'
	@echo '       [FALLBACK=0]             fail models whose environment cannot be built'
	@echo '       [LAUNCHER=slurm]         run each model as a job; [BUILD_ON=slurm] builds too;'
	@echo '                                [NODE_SCRATCH=dir] copies environments to the nodes'"'"' disks'
	@echo '       [NOTIFY=command]         call it at the end, with the summary on stdin'
	@echo '  make fetch [MODELS="glob …"]  build environments and download weights ahead of a run'
	@echo '  make status [FORMAT=json]     show the state of each result; make watch refreshes it'
	@echo '       [MODELS=…] [TASKS=…]     select results; also [LIMIT=n], [CONFIG=path]'
	@echo '  make new MODEL=org/name       write a config from the model'"'"'s files'
	@echo '       [TASKS="a b"]            its tasks; without it: asks, or smoke; [NAME=…] [PROVIDER=…]'
	@echo '  make tasks [SEARCH="a b"]     list your tasks and the harness'"'"'s [FORMAT=json]'
	@echo '  make preview CONFIG=path TASK=a  show the first prompts of the task, without a GPU'
	@echo '       [LIMIT=3] [FORMAT=json]  documents per subtask'
	@echo '  make report                   write results/leaderboard.{json,csv,md}, results/index.html'
	@echo '  make compare A=model B=model  compare on the same samples [TASK="a b"] [FLIPS=n] [ANYWAY=1]'
	@echo '  make publish REPO=org/name    upload leaderboard and results to a dataset on the hub;'
	@echo '       [YES=1] [SAMPLES=1]      without YES=1, list the files; private unless PUBLIC=1'
	@echo '  make why TARGET=path          show why a result is stale; without TARGET: all stale ones'
	@echo '  make plan [FORMAT=json]       show what would be built; [CHECK=1] also check the tasks'
	@echo '  make gc [YES=1]               remove results that no config refers to; asks first'
	@echo '  make doctor [FORMAT=json]     report what this machine lacks, with a fix for each'

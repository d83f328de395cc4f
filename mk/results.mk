# Results: the goals that evaluate. bin/run runs the pipeline (stale results, environments,
# servers); mk/graph.mk decides what is stale.

.PHONY: eval results fetch new tasks preview plan report compare publish status watch why doctor gc

eval: $(tools)
	+@exec bin/run eval

# If nothing is to be done, one query to Make is enough, and no Python starts. Its status also tells
# bin/run whether the plan is out of date: 1 means that the plan is current and results are stale.
# A plan with a date in the future (the clock was ahead) would look newer than every edit, so it is
# made again; /proc/$$ has the current time. If the board has a note of a run on this host, the run
# is under way, or it was killed and bin/run cleans up after it.
quick := $(if $(MODELS)$(TASKS)$(SET)$(LIMIT),,yes)
results: $(tools)
	+@status=; [[ ! build/rules.mk -nt /proc/$$$$ ]] || rm -f build/rules.mk; \
	[[ -z "$(quick)" ]] || compgen -G "run/board/run/$$(</proc/sys/kernel/hostname).*" >/dev/null || \
	if $(MAKE) -q -f mk/graph.mk look=1 all 2>/dev/null; then status=0; else status=$$?; fi; \
	case $$status in \
	0) echo 'results: everything is up to date'; \
	   [[ -e results/index.html && -e build/reported ]] || bin/report ;; \
	*) BENCHY_PLAN=$$status exec bin/run results ;; \
	esac

fetch: $(tools)
	+@exec bin/run fetch

# Makes one file by its name, as in any makefile.
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

# A report is slow, so whether REPO can be a repository is checked first.
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
	@echo '  make eval CONFIG=path         everything for one model; the file may lie anywhere'
	@echo '       [LIMIT=n]                n requests a task, kept apart under results/limit-n'
	@echo '       [TASKS="a b"]            these tasks; [TEST=1] start the server, prove it, stop'
	@echo '       [SET="key=value …"]      options over those of the config'
	@echo '  make -j results               every model; as many at once as there are GPUs'
	@echo '       [MODELS="glob …"]        those models; [TASKS="a b"] those tasks; [LIMIT=n]'
	@echo '       [FALLBACK=0]             no main environment for one that cannot be built'
	@echo '       [LAUNCHER=slurm]         each model as a job; [BUILD_ON=slurm] builds as well;'
	@echo '                                [NODE_SCRATCH=dir] environments on the nodes'"'"' own disks'
	@echo '       [NOTIFY=command]         called at the end, with the summary on its stdin'
	@echo '  make fetch [MODELS="glob …"]  environments and weights ahead of a run; resumes'
	@echo '  make status [FORMAT=json]     what each result is at: done, running, waiting, failed'
	@echo '       [MODELS=…] [TASKS=…]     … and of a run with LIMIT=n or CONFIG=path; make watch'
	@echo '  make new MODEL=org/name       a config with what the model tells; [TASKS="a b"] (asks, or'
	@echo '                                smoke) [NAME=…] [PROVIDER=…]'
	@echo '  make tasks [SEARCH="a b"]     tasks of configs/tasks, and those of the harness [FORMAT=json]'
	@echo '  make preview CONFIG=path TASK=a  its first prompts, as the server will get them; no device'
	@echo '       [LIMIT=3] [FORMAT=json]  documents of each subtask'
	@echo '  make report                   results/leaderboard.{json,csv,md}, results/index.html'
	@echo '  make compare A=model B=model  difference or noise? [TASK="a b"] [FLIPS=n] [ANYWAY=1]'
	@echo '  make publish REPO=org/name    the leaderboard and results to a dataset on the hub; shows'
	@echo '       [YES=1] [SAMPLES=1]      what it would do without YES=1; private unless PUBLIC=1'
	@echo '  make why TARGET=path          what makes a result stale; without TARGET, all that is'
	@echo '  make plan [FORMAT=json]       what would be built, from what; [CHECK=1] can it be made?'
	@echo '  make gc [YES=1]               list and remove results that nothing refers to; asks'
	@echo '  make doctor [FORMAT=json]     what this machine lacks, with the fix for each'

"""Run the pipeline: find stale results, build environments, start one server for each model.

Make decides what is stale (mk/graph.mk); this module asks in the right order:

1. Update the plan, reject options that a release does not have, and list the stale results. Stop
   if there are none.
2. Reject models that do not fit this machine, before anything is built for them.
3. Take the other models, longest expected first, through their stages (dispatcher.py): locks and
   environments, weights, a lease, then one server for all results of the model that are stale then.
4. Compare the results with those before, show the scores, and report.

`make fetch` (fetch_all.py) stops before the lease.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchy.core import knobs, paths, temporary_files
from benchy.core.errors import UsageError
from benchy.core.knobs import flags, knob
from benchy.core.specs import read_server
from benchy.engines import option_check
from benchy.environments import health
from benchy.plan.make import Graph, call
from benchy.plan.selection import Selection, graph_for, model_of, select
from benchy.process.signals import Stopped
from benchy.reporting import freshness
from benchy.run import machine, summary
from benchy.run.accounting import RunStats
from benchy.run.graph_queries import CONFIG_REMOVED
from benchy.run.launchers import launcher_of
from benchy.run.outcome import Outcome, outcome, status_of, written
from benchy.run.pipeline import Work, dispatch_all


@dataclass(frozen=True)
class Due:
    """What Make reports before a run.

    Attributes:
        results: The requested results that are stale.
        models: The models to run: those of these results, and those that a fallback serves, whose
            requested environment is tried again.
        stale_targets: All targets that are stale, environments among them.
    """

    results: tuple[str, ...]
    models: tuple[str, ...]
    stale_targets: frozenset[str]


def run(verb: str) -> int:
    """Make the requested results and return the exit status. verb: "results" or "eval"."""
    graph = graph_for(verb)
    selection = select(graph.plan(), knob("MODELS") if verb == "results" else ["*"], knob("TASKS"))
    if knobs.on("TEST"):
        from benchy.run import server_test  # noqa: PLC0415 - other runs start faster

        return server_test.run(graph, selection)
    if not selection.models:
        raise UsageError("there is no model yet", "copy one of configs/templates/ to configs/")
    due = find_due(graph, selection)
    if "q" in flags():
        return 1 if due.models else 0
    if not due.models:
        report_up_to_date(verb, selection)
        return 0
    option_check.refuse(read_server(model) for model in due.models)
    if "n" in flags() or "t" in flags():
        preview(selection, due)
        return 0
    return make_results(verb, graph, selection, due)


def find_due(graph: Graph, selection: Selection) -> Due:
    """Ask Make which of the selected results and environments are stale."""
    targets = selection.all()
    stamps = {str(paths.stamp(env)) for env in environments(selection)}
    stale = graph.stale([*targets, *sorted(stamps)])
    requested = set(targets)
    results = tuple(target for target in stale if target in requested)
    models = {model_of(target) for target in results}
    facts = selection.plan["models"]
    return Due(
        results,
        tuple(m for m in selection.models if m in models or facts[m]["fallback"]),
        frozenset(stale),
    )


def make_results(verb: str, graph: Graph, selection: Selection, due: Due) -> int:
    """Run the models that are due, report, and return the exit status."""
    stats = RunStats(plan=graph.directory)
    before = {target: written(target) for target in due.results}
    fit = machine.fitting(selection.plan, due.models, stats)
    devices = devices_for(selection, fit)
    signal = 0
    try:
        if fit:
            dispatch_all(Work(graph, selection, fit, stats, due.stale_targets))
            selection = current_selection(graph, selection, stats)
    except Stopped as stopped:
        signal = stopped.signum
    temporary_files.sweep_all()  # left by tasks that were killed from outside
    after = compare(graph, selection, before)
    if not signal:
        show(verb, selection, after.stale)
    refused = len(due.models) - len(fit)
    status = 128 + signal if signal else status_of(after.not_made, refused, selection.plan)
    tried = summary.failed_in_run(after.not_made, stats) if signal else after.not_made
    failed = summary.failures(tried, selection.plan["models"], stats)
    summary.publish(summary.Summary(verb, status, after, tuple(failed), stats, devices, signal))
    return status


def compare(
    graph: Graph, selection: Selection, before: Mapping[str, tuple[int, int] | None]
) -> Outcome:
    """Ask Make what is stale after a run. before: each stale result as it was written then."""
    targets = selection.all()
    rewritten = [target for target, was in before.items() if written(target) not in (None, was)]
    return outcome(targets, before, graph.stale(targets), rewritten)


def current_selection(graph: Graph, selection: Selection, stats: RunStats) -> Selection:
    """Return the selection under the plan after a run. Add models whose config was removed
    meanwhile to `stats`."""
    plan = graph.refresh()
    for model in set(selection.models) - plan["models"].keys():
        stats.reasons[model] = (CONFIG_REMOVED, "")
    models = tuple(model for model in selection.models if model in plan["models"])
    return Selection(plan, models, selection.tasks)


def environments(selection: Selection) -> set[str]:
    """Return the environments that the selected models request."""
    facts = [selection.plan["models"][model] for model in selection.models]
    return {env for model in facts for env in (model["asked"], *model["harnesses"])}


def devices_for(selection: Selection, models: Collection[str]) -> machine.Devices:
    """Return the devices that these models can use."""
    if not launcher_of(selection.plan):
        return machine.devices()
    on_gpus = any(read_server(model)["gpus"] for model in models)
    return machine.Devices(0, "GPU" if on_gpus else "job")


# --- output ---------------------------------------------------------------------------------------


def report_up_to_date(verb: str, selection: Selection) -> None:
    """Print that there is nothing to do, and the scores."""
    count = len(selection.all())
    what = "everything is" if len(selection.models) > 1 else f"{selection.models[0]} is"
    print(f"{verb}: {what} up to date ({count} result{'s' * (count > 1)})")
    show(verb, selection)


def preview(selection: Selection, due: Due) -> None:
    """Print the commands that would run, for `make -n`."""
    shown: set[str] = set()
    for model in due.models:
        facts = selection.plan["models"][model]
        for env in sorted({facts["asked"], *facts["harnesses"]}):
            if env not in shown and not health.intact(env):
                print(f"bin/venv create {env}")
            shown.add(env)
        mine = [target for target in due.results if model_of(target) == model]
        print(f"bin/serve {model} -- make -f mk/graph.mk {shlex.join(mine)}")


def show(verb: str, selection: Selection, stale: Collection[str] = ()) -> None:
    """Print the scores and update the leaderboard. stale: results that are still to be made; if an
    older one is there, it is marked."""
    if verb == "eval" or len(selection.models) <= 20:
        old = [f"--stale={target}" for target in sorted(stale) if Path(target).exists()]
        limit = selection.plan["limit"]
        limited = ["--limit", str(limit)] if limit else []
        call(["bin/report", "--table", *limited, *old, *selection.models])
    if not freshness.current():
        call(["bin/report"])

"""Run the pipeline: find stale results, build environments, start one server for each model.

Make decides what is stale (mk/graph.mk); this module asks in the right order:

1. Update the plan, reject options that a release does not have, and list the stale results. Stop
   if there are none.
2. Reject models that do not fit this machine, before anything is built for them.
3. Take the other models, longest expected first, through their stages (dispatcher.py): locks and
   environments, weights, a lease, then one server for all results of the model that are stale then.

`make fetch` stops before the lease.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from benchy.core import knobs, paths, temporary_files
from benchy.core.errors import Failure, FailureKind, UsageError
from benchy.core.knobs import flags, job_slots, knob
from benchy.core.specs import ModelEntry, PlanIndex, read_server
from benchy.devices import gpu
from benchy.display import activity
from benchy.display.live import Screen
from benchy.display.messages import say
from benchy.display.progress import redraws
from benchy.display.units import span
from benchy.engines import option_check
from benchy.environments import health
from benchy.environments.failures import failure_of
from benchy.plan.make import Graph, call
from benchy.plan.selection import Selection, graph_for, select
from benchy.process.signals import Stopped
from benchy.reporting import freshness
from benchy.run import dispatcher, questions, summary
from benchy.run.accounting import Tally
from benchy.run.pipeline import (
    GONE,
    builds_of,
    dispatch_all,
    drive,
    launch_variables,
    launcher_for,
    launcher_of,
    model_of,
)


def refuse_unfit(models: Sequence[str], tally: Tally | None = None) -> list[str]:
    """Return the models that fit this machine. Print a message for the others, with what can run
    here, and add them to the tally."""
    fit = []
    for model in models:
        reason = gpu.fits(read_server(model))
        if reason is None:
            fit.append(model)
        else:
            if tally:
                tally.reasons[model] = (f"it can't run here: {reason}", "")
            print(Failure(f"{model} can't run here: {reason}"), file=sys.stderr)
    if len(fit) < len(models):
        have = gpu.gpus()
        here = (
            f"{len(have)} GPU(s): models that need no more"
            if have
            else "no GPU: models of an engine for CPUs (provider vllm_cpu; see configs/templates/)"
        )
        print(f"  what can run here: {here}", file=sys.stderr)
    return fit


def run(verb: str) -> int:
    graph = graph_for(verb)
    selection = select(graph.plan(), knob("MODELS") if verb == "results" else ["*"], knob("TASKS"))
    if knobs.on("TEST"):
        return test(graph, selection)
    if not selection.models:
        raise UsageError("there is no model yet", "copy one of configs/templates/ to configs/")
    wanted = selection.all()
    stamps = {str(paths.stamp(env)) for env in environments(selection)}
    every = graph.stale([*wanted, *sorted(stamps)])
    stale, retry = [t for t in every if t in set(wanted)], retried(selection)
    if "q" in flags():
        return 1 if stale or retry else 0
    if not stale and not retry:
        what = "everything is" if len(selection.models) > 1 else f"{selection.models[0]} is"
        print(f"{verb}: {what} up to date ({len(wanted)} result{'s' if len(wanted) > 1 else ''})")
        show(verb, selection)
        return 0
    due = {model_of(t) for t in stale} | set(retry)
    models = [m for m in selection.models if m in due]
    option_check.refuse(read_server(model) for model in models)
    if "n" in flags() or "t" in flags():
        return preview(selection, models, stale)
    tally = Tally(plan=graph.directory)
    launched = launcher_of(selection.plan)
    fit = models if launched else refuse_unfit(models, tally)
    refused = len(models) - len(fit)
    gpus = any(read_server(model)["gpus"] for model in fit)
    have = (0, "GPU" if gpus else "job") if launched else pool()
    stopped, before = 0, {target: written(target) for target in stale}
    try:
        if fit:
            dispatch_all(graph, selection, fit, frozenset(every), tally)
            selection = after(graph, selection, tally)
    except Stopped as signal:
        stopped = signal.signum
    temporary_files.sweep_all()  # left by tasks that were killed from outside
    asked = set(selection.all())
    gone = set(stale) - asked  # their configs were removed during the run
    due = {t for t in graph.stale(selection.all()) if t in asked} | gone
    made = {target for target in stale if written(target) not in (None, before[target])}
    # A result that was made and is stale again did not fail: its files were edited meanwhile.
    left, anew = sorted(due - made), sorted(due & made - gone)
    if not stopped:
        show(verb, selection, due)
    status = 128 + stopped if stopped else ending(left, refused, selection.plan)
    # Results of a lock that was resolved again and came out identical stay up to date.
    kept = len(asked - due - made)
    told = summary.seen(left, tally) if stopped else left
    failed = summary.failures(told, selection.plan["models"], tally)
    untried = len(left) - len(failed)
    summary.tell(
        summary.Summary(
            verb,
            status,
            len(made),
            kept,
            tuple(failed),
            tally,
            *have,
            untried,
            stopped,
            tuple(anew),
        )
    )
    return status


def ending(left: Sequence[str], refused: int, plan: PlanIndex) -> int:
    """Return the exit status of a run: 0 if nothing is left, 2 if only configuration errors are
    left, 1 otherwise. refused: how many models do not fit this machine."""
    if not left and not refused:
        return 0
    models = [plan["models"].get(model) for model in {model_of(target) for target in left}]
    return 2 if not refused and all(map(mistaken, models)) else 1


def mistaken(facts: ModelEntry | None) -> bool:
    """Return whether a model of the plan requests a release that does not exist."""
    envs = [facts["asked"], *facts["harnesses"]] if facts else []
    markers = [failure_of(env) for env in envs if not health.well(env)]
    return any(marker.get("kind") == FailureKind.NO_SUCH_RELEASE for marker in markers)


def written(target: str) -> tuple[int, int] | None:
    """Return a result's inode and mtime, which change when it is rewritten; None if absent."""
    try:
        found = Path(target).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def after(graph: Graph, selection: Selection, tally: Tally) -> Selection:
    """Return the selection under the plan after a run. Add models whose config was removed
    meanwhile to the tally."""
    plan = graph.again()
    for model in set(selection.models) - plan["models"].keys():
        tally.reasons[model] = (GONE, "")
    models = tuple(model for model in selection.models if model in plan["models"])
    return Selection(plan, models, selection.tasks)


def pool() -> tuple[int, str]:
    """Return how many devices this machine has for the run, and the noun for one."""
    if cards := gpu.gpus():
        return len(cards), "GPU"
    return knobs.count("CPU_SLOTS", 1), "CPU slot"


def fetch_all() -> int:
    """Prepare environments and weights of the models that MODELS names (make fetch).

    Return the exit status.
    """
    graph = graph_for("results")
    selection = select(graph.plan(), knob("MODELS"), [])
    if not selection.models:
        raise UsageError("there is no model yet", "copy one of configs/templates/ to configs/")
    launched = launcher_of(selection.plan)
    fit = list(selection.models) if launched else refuse_unfit(selection.models)
    tally = Tally(plan=graph.directory)
    failed = dispatch_all(graph, selection, fit, frozenset(), tally, True) if fit else set()
    for name in sorted(failed):
        say("FAILED", name)
    if not failed:
        print(f"fetch: {len(fit)} model{'s are' if len(fit) > 1 else ' is'} ready")
    if not failed and len(fit) == len(selection.models):
        return 0
    models = graph.read()["models"]
    wrong = len(fit) == len(selection.models) and all(mistaken(models[name]) for name in failed)
    return 2 if wrong else 1


def build_all() -> int:
    """Build every environment that a config needs, with a live line for each (make venvs on a
    terminal, or with BUILD_ON). Return the exit status."""
    graph = graph_for("results")
    if set("nqt") & set(flags()):
        return graph.make("environments")
    plan = graph.plan()
    envs = sorted(plan["environments"])
    stale = set(graph.stale([str(paths.stamp(env)) for env in envs]))
    due = [env for env in envs if {str(paths.stamp(env)), str(paths.lock(env))} & stale]
    failed = build(graph, plan, due)
    for env in sorted(failed):
        say("FAILED", f"{env}, see above; log: {paths.LOGS / 'venv' / env}.log")
    if not failed:
        return 0
    kinds = {failure_of(env).get("kind") for env in failed}
    return 2 if kinds == {FailureKind.NO_SUCH_RELEASE} else 1


def build(graph: Graph, plan: PlanIndex, due: Sequence[str]) -> set[str]:
    """Build environments, here or where BUILD_ON says. Return the failed ones; raise Stopped."""
    if not due:
        return set()
    tally = Tally(plan=graph.directory)

    def words() -> str:
        ready = sum(health.well(env) for env in due)
        return f"{ready} of {len(due)} environments · {span(tally.seconds)}"

    screen = Screen(words) if redraws() else None
    specs = {name: read_server(name) for name in plan["models"]}
    there = launcher_for(plan, specs) if os.environ.get("BUILD_ON") == "slurm" else None
    environ = {**launch_variables(there), activity.RUN_PID: str(os.getpid())}
    frozen = functools.partial(graph.command, frozen=True)
    ask = questions.Questions(dict, lambda _: [], frozen, lambda _: [], lambda *_: [])
    run = dispatcher.Dispatcher(
        ask, {}, {}, job_slots(os.environ.get("MAKEFLAGS", "")),
        {**environ, "BENCHY_DISPLAY": "1"} if screen else environ,
        tally=tally, screen=screen, launcher=there, builds=builds_of(plan, there, specs),
    )  # fmt: skip
    drive(run, (), due)
    return run.failed


def environments(selection: Selection) -> set[str]:
    """Return the environments that the selected models request."""
    facts = [selection.plan["models"][model] for model in selection.models]
    return {env for each in facts for env in (each["asked"], *each["harnesses"])}


def retried(selection: Selection) -> list[str]:
    """Return the models whose environment could not be built last time, to try it again."""
    return [m for m in selection.models if selection.plan["models"][m]["fallback"]]


def preview(selection: Selection, models: Sequence[str], stale: Sequence[str]) -> int:
    """Print the commands that would run, for `make -n`."""
    shown: set[str] = set()
    for model in models:
        facts = selection.plan["models"][model]
        for env in sorted({facts["asked"], *facts["harnesses"]}):
            if env not in shown and not health.well(env):
                print(f"bin/venv create {env}")
            shown.add(env)
        mine = [t for t in stale if model_of(t) == model]
        print(f"bin/serve {model} -- make -f mk/graph.mk {shlex.join(mine)}")
    return 0


def show(verb: str, selection: Selection, due: Collection[str] = ()) -> None:
    """Print the scores and update the leaderboard. due: results that are still to be made; if an
    older one is there, it is marked."""
    if verb == "eval" or len(selection.models) <= 20:
        old = [f"--stale={target}" for target in sorted(due) if Path(target).exists()]
        call(["bin/report", "--table", *limit_option(selection), *old, *selection.models])
    if not freshness.current():
        call(["bin/report"])


def limit_option(selection: Selection) -> list[str]:
    limit = selection.plan["limit"]
    return ["--limit", str(limit)] if limit else []


def test(graph: Graph, selection: Selection) -> int:
    """Prove that each model's server starts and answers (TEST=1). Return the exit status."""
    option_check.refuse(read_server(model) for model in selection.models)
    specs = {m: read_server(m) for m in selection.models}
    there = launcher_for(selection.plan, specs)
    # Reports a wrong BUILD_ON even if nothing is to be built.
    builds_of(selection.plan, there, specs)
    fit = list(selection.models) if there else refuse_unfit(selection.models)
    status = 0 if len(fit) == len(selection.models) else 1
    plan, tried = selection.plan, list[str]()
    for part in ("asked", "environment"):  # if the requested one cannot be built, another may serve
        envs = sorted({plan["models"][model][part] for model in fit})
        stale = set(graph.stale([str(paths.stamp(env)) for env in envs]))
        due = [e for e in envs if str(paths.stamp(e)) in stale or not health.well(e)]
        build(graph, plan, [env for env in due if env not in tried])
        tried += due
        plan = graph.plan()
    try:
        for model in fit:
            serving = plan["models"][model]["environment"]
            if not health.well(serving):
                status |= 2 if mistaken(plan["models"][model]) else 1
                print(f"failed: {dispatcher.unbuilt(model, serving)}", file=sys.stderr)
                continue
            command, env, spec = ["bin/serve", model, "--test"], None, read_server(model)
            if there:
                command = there.command(model, spec, command)
                env = {**launch_variables(there), **there.environ(model, spec)}
            status |= call(["bin/fetch", model]) or call(command, env)
    finally:
        if there:
            there.queue.finish()
    return status if status in (0, 2) else 1

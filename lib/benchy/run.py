"""Leads through a run: what is stale, which environments it needs, one server for each model.

Make answers every question about staleness (mk/graph.mk); this asks them in the right order:

1. plan; refuse options that a release does not have; which results are stale?  None: done.
2. refuse the models that can't run on this machine, before anything is built for them
3. the others, longest expected first, each on its way (dispatch.py): its locks and environments,
   its weights, a lease, then one server for all its results that are stale by then

`make fetch` stops before the lease.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchy import (
    devices,
    dispatch,
    fetch,
    gpu,
    health,
    names,
    options,
    order,
    paths,
    prepare,
    summary,
)
from benchy.errors import Failure, UsageError, say
from benchy.graph import Graph, Selection, alone, call, select
from benchy.progress import redraws, span
from benchy.screen import Screen
from benchy.signals import Stopped
from benchy.tally import Tally

if TYPE_CHECKING:
    from benchy.launcher import Launcher

TASK_JOBS = 4  # tasks of one model that run at once against its server
GONE = "its config went while the run was under way"


def knob(name: str) -> list[str]:
    return os.environ.get(name, "").split()


def limit_directory() -> str:
    """The folder of a plan with LIMIT: its rules have other targets. Checked by bin/plan."""
    text = os.environ.get("LIMIT", "")
    return f"/limit-{text}" if re.fullmatch(r"[1-9][0-9]{0,8}", text) else ""


def graph_for(verb: str) -> Graph:
    if verb == "results":
        return Graph("build" + limit_directory())
    given = os.environ.get("CONFIG", "")
    if not given:
        raise UsageError("is missing", "write make eval CONFIG=configs/quickstart.yaml", "CONFIG")
    path = Path(os.environ.get("BENCHY_CWD", "."), given).absolute()
    if not names.good(path.stem):
        raise UsageError(
            f"{path.name!r} is a name that results can't be kept under",
            "rename the file: letters, digits and . _ + -",
            "CONFIG",
        )
    os.environ["CONFIG"] = str(path)
    return Graph(f"build/eval/{path.stem}" + limit_directory(), one=True)


def server_spec(model: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(paths.server_spec(model).read_text())
    return spec


def refuse_unfit(models: Sequence[str], tally: Tally | None = None) -> list[str]:
    """The models that can run on this machine; the others are told, with what can run here, and
    tallied."""
    fit = []
    for model in models:
        reason = gpu.fits(server_spec(model))
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


def flags() -> str:
    """Make's single-letter flags that this was called under ("n" for make -n)."""
    first = os.environ.get("MAKEFLAGS", "").split(" ")[0]
    return "" if first.startswith("-") or "=" in first else first


def run(verb: str) -> int:
    graph = graph_for(verb)
    selection = select(graph.plan(), knob("MODELS") if verb == "results" else ["*"], knob("TASKS"))
    if os.environ.get("TEST") not in (None, "", "0"):
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
    options.refuse(server_spec(model) for model in models)
    if "n" in flags() or "t" in flags():
        return preview(selection, models, stale)
    tally = Tally()
    launched = launcher_of(selection.plan)
    fit = models if launched else refuse_unfit(models, tally)
    refused = len(models) - len(fit)
    gpus = any(server_spec(model)["gpus"] for model in fit)
    have = (0, "GPU" if gpus else "job") if launched else pool()
    stopped = 0
    try:
        if fit:
            dispatch_all(graph, selection, fit, frozenset(every), tally)
            selection = after(graph, selection, tally)
    except Stopped as signal:
        stopped = signal.signum
    asked = set(selection.all())
    gone = set(stale) - asked  # with the configs that asked for them
    left = sorted({t for t in graph.stale(selection.all()) if t in asked} | gone)
    if not stopped:
        show(verb, selection)
    status = 128 + stopped if stopped else 1 if left or refused else 0
    made = len(set(stale) - set(left))
    kept = len(asked - set(left)) - made
    told = summary.seen(left, tally) if stopped else left
    failed = summary.failures(told, selection.plan["models"], tally)
    untried = len(left) - len(failed)
    summary.tell(
        summary.Summary(verb, status, made, kept, tuple(failed), tally, *have, untried, stopped)
    )
    return status


def after(graph: Graph, selection: Selection, tally: Tally) -> Selection:
    """What was selected, by the plan as it is after a run. Models whose config went meanwhile are
    tallied."""
    plan = graph.again()
    for model in set(selection.models) - plan["models"].keys():
        tally.reasons.setdefault(model, (GONE, ""))
    models = tuple(model for model in selection.models if model in plan["models"])
    return Selection(plan, models, selection.tasks)


def pool() -> tuple[int, str]:
    """How many devices this machine has for us, and what one is called."""
    if cards := gpu.gpus():
        return len(cards), "GPU"
    return devices.count("CPU_SLOTS", 1), "CPU slot"


def dispatch_all(
    graph: Graph,
    selection: Selection,
    names: Sequence[str],
    stale: frozenset[str],
    tally: Tally,
    fetch_only: bool = False,
) -> set[str]:
    """Take the models through their stages; those that failed. stale: every stale target. What
    they wait for is tallied. Raises Stopped."""
    specs = {name: server_spec(name) for name in names}
    there = launcher_for(selection.plan, specs)
    needs = {m: devices.elsewhere(s) for m, s in specs.items()} if there else needed(specs, tally)
    refused = specs.keys() - needs.keys()
    if not needs:
        return refused
    jobs = job_slots(os.environ.get("MAKEFLAGS", ""))
    results = {m: [t for t in selection.targets(m) if t in stale] for m in needs}
    seconds = order.expectations(
        {m: order.took(found) for m, found in results.items()},
        {m: order.weight(specs[m]) for m in needs},
    )
    items = [order.Item(m, seconds[m], n.want.count, n.want.pool) for m, n in needs.items()]
    longest = sorted(items, key=lambda item: (-item.seconds, item.name))
    queue = [item.name for item in longest] if there else order.best(items, jobs)
    if len(queue) > 1:
        first = ", ".join(queue[:4]) + (" …" if len(queue) > 4 else "")
        say("QUEUE", f"{len(queue)} models: {first}")

    def left(name: str) -> list[str]:
        asked = selection.targets(name)
        return [t for t in graph.stale(asked) if t in asked]

    def serving(name: str, targets: Sequence[str]) -> list[str]:
        say("MODEL", f"{name}: {', '.join(t.split('/')[-2] for t in targets)}")
        words = ["-k", f"-j{task_jobs(name, targets)}", f"V={os.environ.get('V', '0')}", *targets]
        return ["bin/serve", name, "--", *graph.command(*words, frozen=True)]

    asked = [target for targets in results.values() for target in targets]
    screen = Screen(tally, lambda: so_far(tally, results, len(asked))) if redraws() else None
    environ = {**environment_of(there), "BENCHY_BOARD": str(os.getpid())}
    run = dispatch.Dispatcher(
        dispatch.Questions(
            lambda: graph.again()["models"],
            left,
            lambda target: graph.command(target, frozen=True),
            lambda name: [] if ready(name) and not fetch_only else ["bin/fetch", name],
            serving,
        ),
        selection.plan["models"],
        needs,
        jobs,
        {**environ, "BENCHY_DISPLAY": "1"} if screen else environ,
        stale,
        dict(results),
        fetch_only,
        tally=tally,
        screen=screen,
        launcher=there,
        specs=specs,
        builds=builds_of(selection.plan, there, specs),
    )
    drive(run, queue)
    return run.failed | refused


def needed(specs: Mapping[str, Any], tally: Tally) -> dict[str, devices.Need]:
    """What each of these servers needs of this machine. Those that can't have it, for want of a GPU
    that no stranger uses, are told and tallied. Raises UsageError for a knob."""
    cards = gpu.gpus()
    skipped, found = devices.left_out(cards), {}
    for name, spec in specs.items():
        try:
            found[name] = devices.need(spec, cards, skipped)
        except Failure as error:
            tally.reasons[name] = (error.what, "")
            print(f"failed: {error}", file=sys.stderr)
    return found


def launcher_of(plan: Mapping[str, Any]) -> str:
    """The launcher's name: of the knob LAUNCHER, else of config.yaml; "" for this machine."""
    name = os.environ.get("LAUNCHER") or str(plan.get("launcher") or "local")
    return "" if name == "local" else name


def launcher_for(plan: Mapping[str, Any], specs: Mapping[str, Any]) -> Launcher | None:
    """The launcher of these servers, ready; None for this machine. Raises UsageError, Failure,
    ConfigError."""
    if not (name := launcher_of(plan)):
        return None
    from benchy import launcher, nodes  # noqa: PLC0415 - reads the schema, for who needs it

    there = launcher.begun(name)
    nodes.refuse(specs.values(), name, bool(there.says.rank))
    return there


def builds_of(
    plan: Mapping[str, Any], there: Launcher | None, specs: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """What builds ask the launcher for, as BUILD_ON=slurm (which stands for any launcher) wants
    them there; None for builds here. Raises UsageError."""
    where = os.environ.get("BUILD_ON") or "login"
    if where not in ("login", "slurm"):
        raise UsageError(f"BUILD_ON={where} is unknown", "write login or slurm")
    if where == "login":
        return None
    if not there:
        mend = "write LAUNCHER=slurm with it, or BUILD_ON=login"
        raise UsageError(f"BUILD_ON={where} needs a launcher", mend)
    from benchy import jobs  # noqa: PLC0415 - as in launcher_for()

    return jobs.building(specs, plan.get("build") or {})


def environment_of(there: Launcher | None) -> dict[str, str]:
    """The environment of a run's commands."""
    return there.outside(alone()) if there else alone()


def so_far(tally: Tally, results: Mapping[str, Sequence[str]], total: int) -> str:
    """How far a run is, in words."""
    made = sum(
        Path(target).is_file() and Path(target).stat().st_mtime >= tally.began
        for model in tally.served
        for target in results.get(model, ())
    )
    waits = Counter(kind for kind, _ in tally.waiting.values())
    parts = [f"{made} of {total} results"] if total else []
    parts += [f"{n} waiting for {kind}" for kind, n in sorted(waits.items())]
    if tally.reasons:
        parts.append(f"{len(tally.reasons)} failed")
    return " · ".join([*parts, span(tally.seconds)])


def ready(name: str) -> bool:
    """Is there nothing to fetch for a model?"""
    return fetch.there(server_spec(name))


def job_slots(makeflags: str) -> int | None:
    """What -j says in MAKEFLAGS: 1 without it, None for a -j with no number."""
    found: int | None = 1
    for word in makeflags.partition(" -- ")[0].split():
        if match := re.fullmatch(r"-j(\d*)", word):
            found = int(match[1]) if match[1] else None
    return found


def task_jobs(model: str, targets: Sequence[str]) -> int:
    """How many of a model's tasks run at once: TASK_JOBS, and no more than its engine works on."""
    plan = prepare.known(model)
    most = plan.at_once() or 1 << 20
    tasks = [json.loads(paths.task_spec(t.split("/")[-2]).read_text()) for t in targets]
    each = max([1, *(int(task["num_concurrent"] or 1) for task in tasks)])
    return min(devices.count("TASK_JOBS", TASK_JOBS), max(1, most // each))


def fetch_all() -> int:
    """make fetch: environments and weights of the models that MODELS names, and no more."""
    graph = graph_for("results")
    selection = select(graph.plan(), knob("MODELS"), [])
    if not selection.models:
        raise UsageError("there is no model yet", "copy one of configs/templates/ to configs/")
    launched = launcher_of(selection.plan)
    fit = list(selection.models) if launched else refuse_unfit(selection.models)
    failed = dispatch_all(graph, selection, fit, frozenset(), Tally(), True) if fit else set()
    for name in sorted(failed):
        say("FAILED", name)
    if not failed:
        print(f"fetch: {len(fit)} model{'s are' if len(fit) > 1 else ' is'} ready")
    return 1 if failed or len(fit) < len(selection.models) else 0


def build_all() -> int:
    """make venvs on a terminal, or with BUILD_ON: every environment that some config needs, with a
    live line each."""
    graph = graph_for("results")
    if set("nqt") & set(flags()):
        return graph.make("environments")
    plan = graph.plan()
    envs = sorted(plan["environments"])
    stale = set(graph.stale([str(paths.stamp(env)) for env in envs]))
    due = [env for env in envs if {str(paths.stamp(env)), str(paths.lock(env))} & stale]
    if not due:
        return 0
    tally = Tally()

    def words() -> str:
        ready = sum(health.well(env) for env in due)
        return f"{ready} of {len(due)} environments · {span(tally.seconds)}"

    screen = Screen(tally, words) if redraws() else None
    specs = {name: server_spec(name) for name in plan["models"]}
    there = launcher_for(plan, specs) if os.environ.get("BUILD_ON") == "slurm" else None
    environ = {**environment_of(there), "BENCHY_BOARD": str(os.getpid())}
    ask = dispatch.Questions(dict, lambda _: [], graph.command, lambda _: [], lambda *_: [])
    run = dispatch.Dispatcher(
        ask, {}, {}, job_slots(os.environ.get("MAKEFLAGS", "")),
        {**environ, "BENCHY_DISPLAY": "1"} if screen else environ,
        tally=tally, screen=screen, launcher=there, builds=builds_of(plan, there, specs),
    )  # fmt: skip
    drive(run, (), due)
    for env in sorted(run.failed):
        say("FAILED", f"{env}, see above; log: {paths.LOGS / 'venv' / env}.log")
    return 1 if run.failed else 0


def drive(run: dispatch.Dispatcher, order: Sequence[str], envs: Sequence[str] = ()) -> None:
    """A run to its end. Raises Stopped."""
    try:
        asyncio.run(run.run(order, envs))
    except asyncio.CancelledError:
        raise Stopped(run.came) from None


def environments(selection: Selection) -> set[str]:
    """Those that the selected models ask for."""
    facts = [selection.plan["models"][model] for model in selection.models]
    return {env for each in facts for env in (each["asked"], *each["harnesses"])}


def retried(selection: Selection) -> list[str]:
    """Models whose environment could not be built last time: it is tried again."""
    return [m for m in selection.models if selection.plan["models"][m]["fallback"]]


def model_of(target: str) -> str:
    """results/[limit-n/]MODEL/TASK/results.json → MODEL"""
    return target.split("/")[-3]


def preview(selection: Selection, models: Sequence[str], stale: Sequence[str]) -> int:
    """What make -n shows: the commands that would run."""
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


def show(verb: str, selection: Selection) -> None:
    """The scores, and the leaderboard brought up to date."""
    if verb == "eval" or len(selection.models) <= 20:
        call(["bin/report", "--table", *limit_option(selection), *selection.models])
    call(["bin/report"])


def limit_option(selection: Selection) -> list[str]:
    limit = selection.plan["limit"]
    return ["--limit", str(limit)] if limit else []


def test(graph: Graph, selection: Selection) -> int:
    """TEST=1: prove that each model's server starts and answers."""
    options.refuse(server_spec(model) for model in selection.models)
    specs = {m: server_spec(m) for m in selection.models}
    there = launcher_for(selection.plan, specs)
    builds = builds_of(selection.plan, there, specs)
    fit = list(selection.models) if there else refuse_unfit(selection.models)
    status = 0 if len(fit) == len(selection.models) else 1
    try:
        for model in fit:
            target = f"environment/{selection.plan['models'][model]['asked']}"
            if there and builds is not None:
                name = f"build-{target.rpartition('/')[2]}"
                command = there.command(name, {"resources": builds}, graph.command(target))
                call(command, environment_of(there))
            graph.make(target)
            plan = graph.plan()
            ready_environment(graph, plan["models"][model]["environment"])
            command, env, spec = ["bin/serve", model, "--test"], None, server_spec(model)
            if there:
                command = there.command(model, spec, command)
                env = {**environment_of(there), **there.environ(model, spec)}
            status |= call(["bin/fetch", model]) or call(command, env)
    finally:
        if there:
            there.queue.finish()
    return 1 if status else 0


def ready_environment(graph: Graph, env: str) -> None:
    """Build an environment that a fallback needs; Failure if it can't be had either."""
    if not health.well(env):
        graph.make(f"environment/{env}")
    if not health.well(env):
        raise Failure(
            f"environment {env} could not be built",
            "mend the cause and run make again; make env-info shows more",
            paths.LOGS / "venv" / f"{env}.log",
        )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/run",
        description="lead through a run; the knobs CONFIG, MODELS, TASKS, LIMIT, TEST, SET and "
        "FALLBACK come from the environment, as make exports them",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("eval", help="everything for the model of CONFIG")
    verbs.add_parser("results", help="every model, or those that MODELS names")
    verbs.add_parser("fetch", help="environments and weights, and no more")
    verbs.add_parser("venvs", help="environments, and no more")
    args = parser.parse_args(argv)
    try:
        own = {"fetch": fetch_all, "venvs": build_all}.get(args.verb)
        return own() if own else run(args.verb)
    except Stopped as stopped:
        return 128 + stopped.signum

"""Set up the dispatcher of a run: what its models need, their order, the callbacks that query Make,
where servers and builds run, and how many run at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchy.core import knob_table, knobs
from benchy.core.errors import Failure, UsageError
from benchy.core.specs import PlanIndex, Resources, ServerSpec, read_server, read_task
from benchy.core.text import listed
from benchy.devices import allocation, gpu
from benchy.display import activity
from benchy.display.live import Screen
from benchy.display.messages import say
from benchy.display.progress import redraws
from benchy.display.units import span
from benchy.plan.make import Graph, alone
from benchy.plan.selection import Selection
from benchy.process.signals import Stopped
from benchy.run import dispatcher, fetch, questions, schedule
from benchy.run.accounting import Tally
from benchy.serving import preparation

if TYPE_CHECKING:
    from benchy.cluster.launcher import Launcher

GONE = "its config went while the run was under way"
TASK_JOBS = 4  # tasks of one model that run at once against its server


def dispatch_all(
    graph: Graph,
    selection: Selection,
    names: Sequence[str],
    stale: frozenset[str],
    tally: Tally,
    fetch_only: bool = False,
) -> set[str]:
    """Take models through their stages.

    Args:
        graph: Make's graph for the plan.
        selection: The requested results.
        names: The models to run.
        stale: Every stale target.
        tally: Records what the models wait for.
        fetch_only: Whether to stop before the lease.

    Returns:
        The models that failed.

    Raises:
        Stopped: A signal ended the run.
    """
    specs = {name: read_server(name) for name in names}
    there = launcher_for(selection.plan, specs)
    needs = (
        {m: allocation.elsewhere(s) for m, s in specs.items()} if there else needed(specs, tally)
    )
    refused = specs.keys() - needs.keys()
    if not needs:
        return refused
    jobs = knobs.job_slots(os.environ.get("MAKEFLAGS", ""))
    results = {m: [t for t in selection.targets(m) if t in stale] for m in needs}
    seconds = schedule.expectations(
        {m: schedule.took(found) for m, found in results.items()},
        {m: schedule.weight(specs[m]) for m in needs},
    )
    items = [schedule.Item(m, seconds[m], n.want.count, n.want.pool) for m, n in needs.items()]
    longest = sorted(items, key=lambda item: (-item.seconds, item.name))
    queue = [item.name for item in longest] if there else schedule.best(items, jobs)
    if len(queue) > 1:
        say("QUEUE", f"{len(queue)} models: {listed(queue, 4)}")

    def left(name: str) -> list[str]:
        asked = selection.targets(name)
        try:
            return [t for t in graph.stale(asked) if t in asked]
        except Failure:
            if name in graph.read()["models"]:
                raise
            raise Failure(f"{name}: {GONE}") from None  # Make has no rule for its results

    def serving(name: str, targets: Sequence[str]) -> list[str]:
        say("MODEL", f"{name}: {', '.join(t.split('/')[-2] for t in targets)}")
        words = ["-k", f"-j{task_jobs(name, targets)}", f"V={os.environ.get('V', '0')}", *targets]
        return ["bin/serve", name, "--", *graph.command(*words, frozen=True)]

    asked = [target for targets in results.values() for target in targets]
    screen = Screen(lambda: so_far(tally, results, len(asked))) if redraws() else None
    environ = {**launch_variables(there), activity.RUN_PID: str(os.getpid())}
    run = dispatcher.Dispatcher(
        questions.Questions(
            lambda: graph.again()["models"],
            left,
            lambda target: graph.command(target, frozen=True),
            lambda name: fetching(name, results.get(name, ()), selection.plan["limit"], fetch_only),
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


def drive(run: dispatcher.Dispatcher, order: Sequence[str], envs: Sequence[str] = ()) -> None:
    """Run the dispatcher to its end. Raises Stopped if a signal ends it."""
    try:
        asyncio.run(run.run(order, envs))
    except asyncio.CancelledError:
        raise Stopped(run.came) from None


def needed(specs: Mapping[str, ServerSpec], tally: Tally) -> dict[str, allocation.DeviceNeed]:
    """Return the devices of this machine that each server needs.

    A server for which other programs leave too few GPUs (GPU_BUSY=skip) is left out, with a message
    and an entry in the tally. Raises UsageError for a wrong knob.
    """
    cards = gpu.gpus()
    skipped, found = allocation.left_out(cards), {}
    for name, spec in specs.items():
        try:
            found[name] = allocation.need(spec, cards, skipped)
        except Failure as error:
            tally.reasons[name] = (error.what, "")
            print(f"failed: {error}", file=sys.stderr)
    return found


def launcher_of(plan: PlanIndex | None) -> str:
    """Return the launcher's name from LAUNCHER, else from config.yaml; "" for this machine."""
    name = os.environ.get("LAUNCHER") or (plan["launcher"] if plan else "local")
    return "" if name == "local" else name


def launcher_for(plan: PlanIndex, specs: Mapping[str, ServerSpec]) -> Launcher | None:
    """Return the launcher of these servers, ready for use; None for this machine.

    Raises UsageError, Failure, ConfigError.
    """
    if not (name := launcher_of(plan)):
        return None
    from benchy.cluster import launcher, multi_node  # noqa: PLC0415 - imports the schema

    there = launcher.begun(name)
    multi_node.refuse(specs.values(), name, bool(there.says.rank))
    return there


def builds_of(
    plan: PlanIndex, there: Launcher | None, specs: Mapping[str, ServerSpec]
) -> Resources | None:
    """Return the resources that builds request from the launcher if BUILD_ON=slurm, which means any
    launcher; None to build here. Raises UsageError for a wrong BUILD_ON."""
    where = os.environ.get("BUILD_ON") or "login"
    knob_table.KNOBS["BUILD_ON"].check("BUILD_ON", where)
    if where == "login":
        return None
    if not there:
        hint = "write LAUNCHER=slurm with it, or BUILD_ON=login"
        raise UsageError(f"BUILD_ON={where} needs a launcher", hint)
    from benchy.run import cluster_jobs  # noqa: PLC0415 - as in launcher_for()

    return cluster_jobs.building(specs, plan["build"])


def launch_variables(there: Launcher | None) -> dict[str, str]:
    """Return the environment variables of a run's commands."""
    return there.outside(alone()) if there else alone()


def so_far(tally: Tally, results: Mapping[str, Sequence[str]], total: int) -> str:
    """Describe the progress of a run in one line."""
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


def fetching(name: str, targets: Sequence[str], limit: int | None, fetch_only: bool) -> list[str]:
    """Return the command that prepares a model for serving and checks the tasks of these results;
    [] if there is nothing to do."""
    from benchy.evaluation import preflight  # noqa: PLC0415 - a run with nothing to do skips the import

    spec, tasks = read_server(name), [target.split("/")[-2] for target in targets]
    ready = fetch.there(spec) and preflight.passed(spec, tasks, limit, preparation.commit(spec))
    if ready and not fetch_only:
        return []
    return ["bin/fetch", name, *tasks, *([f"--limit={limit}"] if limit else [])]


def task_jobs(model: str, targets: Sequence[str]) -> int:
    """Return how many of a model's tasks run at once: TASK_JOBS, capped by the engine."""
    plan = preparation.known(model)
    most = plan.at_once() or 1 << 20
    tasks = [read_task(t.split("/")[-2]) for t in targets]
    each = max([1, *(task["num_concurrent"] for task in tasks)])
    return min(knobs.count("TASK_JOBS", TASK_JOBS), max(1, most // each))


def model_of(target: str) -> str:
    """Return MODEL of results/[limit-n/]MODEL/TASK/results.json."""
    return target.split("/")[-3]

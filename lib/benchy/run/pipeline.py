"""Set up the dispatcher of a run: what its models need, their order, where servers and builds run,
and how many run at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchy.core import knobs
from benchy.core.errors import Failure
from benchy.core.specs import ServerSpec, read_server
from benchy.devices import allocation, gpu
from benchy.display import activity
from benchy.display.live import Screen
from benchy.display.messages import say
from benchy.display.progress import redraws
from benchy.display.units import span
from benchy.plan.make import Graph
from benchy.plan.selection import Selection
from benchy.process.signals import Stopped
from benchy.run import schedule
from benchy.run.accounting import RunStats
from benchy.run.current_plan import CurrentPlan
from benchy.run.dispatcher import Dispatcher
from benchy.run.graph_queries import GraphQueries
from benchy.run.launchers import build_resources, launch_variables, launcher_for
from benchy.run.settings import RunSettings

if TYPE_CHECKING:
    from benchy.cluster.launcher import JobLauncher


@dataclass(frozen=True)
class Work:
    """What a run is to do.

    Attributes:
        graph: Make's graph for the plan.
        selection: The requested results.
        models: The models to run.
        stats: Records what the models wait for.
        stale_targets: Every target that Make would build.
        fetch_only: Whether to stop before the lease.
    """

    graph: Graph
    selection: Selection
    models: Sequence[str]
    stats: RunStats
    stale_targets: frozenset[str] = frozenset()
    fetch_only: bool = False

    def stale_results(self, model: str) -> list[str]:
        return [target for target in self.selection.targets(model) if target in self.stale_targets]


def dispatch_all(work: Work) -> set[str]:
    """Take models through their stages, and return those that failed. Raises Stopped if a signal
    ends the run."""
    specs = {model: read_server(model) for model in work.models}
    launcher = launcher_for(work.selection.plan, specs)
    if launcher:
        needs = {model: allocation.elsewhere(spec) for model, spec in specs.items()}
    else:
        needs = available_needs(specs, work.stats)
    refused = specs.keys() - needs.keys()
    if not needs:
        return refused
    results = {model: work.stale_results(model) for model in needs}
    total = sum(map(len, results.values()))
    screen = screen_for(lambda: progress_line(work.stats, results, total))
    settings = RunSettings(
        make=GraphQueries(work.graph, work.selection, results, work.fetch_only),
        needs=needs,
        jobs=job_limit(),
        environ=environment_for(launcher, screen),
        stale_targets=work.stale_targets,
        fetch_only=work.fetch_only,
        launcher=launcher,
        specs=specs,
        build_resources=build_resources(work.selection.plan, launcher, specs),
    )
    queue = queue_of(settings, results)
    plan = CurrentPlan(settings.make, work.selection.plan["models"], dict(results))
    run = Dispatcher(settings, plan, work.stats, screen)
    drive(run, queue)
    return run.failed | refused


def drive(run: Dispatcher, order: Sequence[str], envs: Sequence[str] = ()) -> None:
    """Run the dispatcher to its end. Raises Stopped if a signal ends it."""
    try:
        asyncio.run(run.run(order, envs))
    except asyncio.CancelledError:
        raise Stopped(run.commands.signal) from None


def available_needs(
    specs: Mapping[str, ServerSpec], stats: RunStats
) -> dict[str, allocation.DeviceNeed]:
    """Return the devices of this machine that each server needs.

    A server for which other programs leave too few GPUs (GPU_BUSY=skip) is left out, with a message
    and an entry in `stats`. Raises UsageError for a wrong knob, and Failure if the GPUs cannot be
    listed.
    """
    # A broken driver does not concern models on the CPU.
    cards = gpu.gpus() if any(spec["device"] == "gpu" for spec in specs.values()) else []
    skipped, needs = allocation.left_out(cards), {}
    for name, spec in specs.items():
        try:
            needs[name] = allocation.need(spec, cards, skipped)
        except Failure as error:
            stats.reasons[name] = (error.what, "")
            print(f"failed: {error}", file=sys.stderr)
    return needs


def queue_of(settings: RunSettings, results: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the models in the order in which they start, and print its beginning.

    results: the stale results of each model. A launcher has its own queue: it gets the longest
    models first.
    """
    seconds = schedule.expectations(
        {model: schedule.took(targets) for model, targets in results.items()},
        {model: schedule.weight(settings.specs[model]) for model in results},
    )
    items = [
        schedule.Item(model, seconds[model], need.want.count, need.want.pool)
        for model, need in settings.needs.items()
    ]
    if settings.launcher:
        longest_first = sorted(items, key=lambda item: (-item.seconds, item.name))
        queue = [item.name for item in longest_first]
    else:
        queue = schedule.best(items, settings.jobs)
    if len(queue) > 1:
        first = ", ".join(queue[:4]) + (" …" if len(queue) > 4 else "")
        say("QUEUE", f"{len(queue)} models: {first}")
    return queue


def job_limit() -> int | None:
    """Return the limit of -j, None for no limit."""
    return knobs.job_slots(os.environ.get("MAKEFLAGS", ""))


def screen_for(status_line: Callable[[], str]) -> Screen | None:
    """Return the live lines of a run, None if stderr is not a terminal that can redraw them."""
    return Screen(status_line) if redraws() else None


def environment_for(launcher: JobLauncher | None, screen: Screen | None) -> dict[str, str]:
    """Return the environment variables of a run's commands. They leave progress to the screen."""
    environ = {**launch_variables(launcher), activity.RUN_PID: str(os.getpid())}
    return {**environ, "BENCHY_DISPLAY": "1"} if screen else environ


def progress_line(stats: RunStats, results: Mapping[str, Sequence[str]], total: int) -> str:
    """Describe the progress of a run in one line."""
    made = sum(
        Path(target).is_file() and Path(target).stat().st_mtime >= stats.began
        for model in stats.served
        for target in results.get(model, ())
    )
    waits = Counter(kind for kind, _ in stats.waiting.values())
    parts = [f"{made} of {total} results"] if total else []
    parts += [f"{n} waiting for {kind}" for kind, n in sorted(waits.items())]
    if stats.reasons:
        parts.append(f"{len(stats.reasons)} failed")
    return " · ".join([*parts, span(stats.seconds)])

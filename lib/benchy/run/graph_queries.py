"""The queries of a run to Make's graph, and the commands that it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchy.core import knobs
from benchy.core.errors import Failure
from benchy.core.specs import ModelEntry, read_server, read_task
from benchy.display.messages import say
from benchy.plan.make import Graph
from benchy.plan.selection import Selection, task_of
from benchy.run import fetch
from benchy.serving import preparation

CONFIG_REMOVED = "its config was removed during the run"
TASK_JOBS = 4  # tasks of one model that run at once against its server


@dataclass(frozen=True)
class GraphQueries:
    """Implements MakeQueries.

    Attributes:
        graph: Make's graph for the plan.
        selection: The requested results.
        results: The results of each model that were stale when the run began.
        fetch_only: Whether to prepare models even if they are ready.
    """

    graph: Graph
    selection: Selection
    results: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fetch_only: bool = False

    def plan(self) -> Mapping[str, ModelEntry]:
        return self.graph.refresh()["models"]

    def stale(self, model: str) -> list[str]:
        """Return the stale ones of a model's requested results. Raise Failure if its config was
        removed."""
        requested = self.selection.targets(model)
        try:
            return [target for target in self.graph.stale(requested) if target in requested]
        except Failure:
            if model in self.graph.read()["models"]:
                raise
            # Make has no rule for its results.
            raise Failure(f"{model}: {CONFIG_REMOVED}") from None

    def command(self, target: str) -> list[str]:
        return self.graph.command(target, frozen=True)

    def fetching(self, model: str) -> list[str]:
        limit = self.selection.plan["limit"]
        return fetch_command(model, self.results.get(model, ()), limit, self.fetch_only)

    def serving(self, model: str, targets: Sequence[str]) -> list[str]:
        """Return the command that serves a model and makes results, and print which."""
        say("MODEL", f"{model}: {', '.join(map(task_of, targets))}")
        words = ["-k", f"-j{task_jobs(model, targets)}", f"V={os.environ.get('V', '0')}", *targets]
        return ["bin/serve", model, "--", *self.graph.command(*words, frozen=True)]


def fetch_command(
    model: str, targets: Sequence[str], limit: int | None, fetch_only: bool
) -> list[str]:
    """Return the command that prepares a model for serving and checks the tasks of these results;
    [] if there is nothing to do."""
    from benchy.evaluation import preflight  # noqa: PLC0415 - a run with nothing to do skips the import

    spec, tasks = read_server(model), [task_of(target) for target in targets]
    ready = fetch.nothing_to_fetch(spec) and preflight.passed(
        spec, tasks, limit, preparation.fetched(spec)
    )
    if ready and not fetch_only:
        return []
    return ["bin/fetch", model, *tasks, *([f"--limit={limit}"] if limit else [])]


def task_jobs(model: str, targets: Sequence[str]) -> int:
    """Return how many of a model's tasks run at once: TASK_JOBS, capped by the engine."""
    engine_limit = preparation.known(model).at_once() or 1 << 20
    specs = [read_task(task_of(target)) for target in targets]
    requests = max([1, *(spec["num_concurrent"] for spec in specs)])
    return min(knobs.count("TASK_JOBS", TASK_JOBS), max(1, engine_limit // requests))

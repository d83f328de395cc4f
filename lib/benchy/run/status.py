"""bin/status: show the state of each result: done, running, waiting, stale, failed or missing.

Asks Make what is stale; reads the board (activity.py), the results, and why environments failed.
Writes nothing and does not contact a run, so it can be called at any time from any terminal.
`--watch` refreshes it every few seconds until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.display import activity
from benchy.evaluation.scored_result import ScoredResult
from benchy.plan import snapshot, staleness
from benchy.plan.make import Graph
from benchy.plan.selection import Selection, select, task_of
from benchy.reporting.collection import collect
from benchy.reporting.leaderboard import chosen
from benchy.run.status_cells import Observed, StatusCell, cell_of

ASK_AGAIN = 30.0  # seconds until Make is queried again for stale results


@dataclass
class Status:
    """What Make and the results said when last queried."""

    graph: Graph
    globs: Sequence[str]
    tasks: Sequence[str]
    selection: Selection = field(init=False)
    stale: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    asked_at: float = 0.0
    entries: dict[tuple[str, str], ScoredResult] = field(default_factory=dict)

    def ask(self) -> None:
        """Query Make and read the results. Raises Failure, UsageError."""
        graph = self.planned()
        plan, globs = graph.read(), ["*"] if graph.single else self.globs
        self.selection = select(plan, globs, self.tasks)
        targets = self.selection.all()
        self.asked_at = time.time()
        rules = f"--old-file={graph.directory}/rules.mk"
        self.stale = set(graph.stale([rules, *targets])) & set(targets) if targets else set()
        self.reasons = {
            target: next(iter(staleness.reasons(Path(target))), "stale")
            for target in self.stale
            if Path(target).exists()
        }
        limit = plan["limit"]
        entries, _ = collect(self.selection.models, limit, limited=limit is not None)
        entries, mistakes = chosen(entries)
        for mistake in mistakes:
            print(f"scores lack the metrics of the task files: {mistake}", file=sys.stderr)
        self.entries = {(entry.model, entry.task): entry for entry in entries}

    def planned(self) -> Graph:
        """Return the graph with a readable plan.

        Updates the plan if no run is under way. Otherwise takes the existing plan, or the plan of a
        run, which is the only one in a fresh checkout, or makes a separate snapshot. Raises Failure
        if there is no plan.
        """
        # A plan depends on the caller's knobs, so this process must not replace that of a run.
        if paths.apart():  # this process already plans in a snapshot of its own
            return snapshot.plan(self.graph)
        runs = list(activity.runs())
        if not runs and (done := self.graph.renew()) and done.returncode:
            if not Path(self.graph.directory, "plan.json").exists():
                raise Failure("there is no plan yet", "fix what is wrong, then run this again")
            print("according to the last plan:", file=sys.stderr)
        others = [Graph(run.plan, single="/eval/" in run.plan) for run in runs]
        for graph in (self.graph, *others):
            with contextlib.suppress(OSError, ValueError):
                graph.read()
                return graph
        return snapshot.plan(self.graph)

    def cells(self) -> list[StatusCell]:
        """Return the cell of every selected result, in the plan's order."""
        if time.time() - self.asked_at > ASK_AGAIN:
            self.ask()
        notes = {(note.kind, note.name): note for note in activity.notes()}
        runs = list(activity.runs())
        waiting = {model: what for run in runs for model, what in run.waiting.items()}
        jobs = {model: job for run in runs for model, job in run.jobs.items()}
        limit, models = self.selection.plan["limit"], self.selection.plan["models"]
        now = time.time()
        return [
            cell_of(
                Observed(
                    model=model,
                    task=(task := task_of(target)),
                    facts=models[model],
                    now=now,
                    stale=target in self.stale and not self.just_made(target),
                    reason=self.reasons.get(target, ""),
                    entry=self.entries.get((model, task)),
                    task_note=notes.get(("task", activity.name(model, task, limit))),
                    model_note=notes.get(("model", model)),
                    waits_for=waiting.get(model, ""),
                    job=jobs.get(model, ""),
                )
            )
            for model in self.selection.models
            for target in self.selection.targets(model)
        ]

    def just_made(self, target: str) -> bool:
        """Return whether a result was written since Make was queried."""
        try:
            return Path(target).stat().st_mtime >= self.asked_at
        except OSError:
            return False

"""The two sides of a comparison: where their results are, and whether their numbers compare.

A and B are each a model (`name`, `name@cell`), a model with a limit (`limit-10/name`), or a
directory of tasks, such as a copy of results. Reads <task>/results.json of both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchy.core import names, paths, result_files
from benchy.core.errors import UsageError
from benchy.core.text import listed
from benchy.evaluation import result as document
from benchy.evaluation.result import Result
from benchy.evaluation.scored_result import ScoredResult
from benchy.plan import result_status
from benchy.reporting import comparability


@dataclass(frozen=True)
class Side:
    """One result of a comparison.

    Attributes:
        directory: The directory of its results.json.
        result: The content of results.json.
        stale: Whether Make would rebuild it; None if unknown.
        chosen: The metric that the task's file names; None for the first metric.
    """

    directory: Path
    result: Result
    stale: bool | None = None
    chosen: str | None = None

    @property
    def entry(self) -> ScoredResult:
        return ScoredResult(self.directory / "results.json", self.result, self.chosen)

    @property
    def title(self) -> str:
        engine = self.result.engine
        more = ", fallback" * self.result.fallback + ", stale" * bool(self.stale)
        return f"{self.result.model.config} ({engine.package} {engine.answered}{more})"


def directory(name: str, knob: str) -> Path:
    """Return the directory with the results of A or B. Raise UsageError if there is none.

    name: the value of the knob. knob: "A" or "B", for the message.
    """
    found = (path.parent.parent for path, _ in result_files.files())
    known = sorted({str(path.relative_to(paths.RESULTS)) for path in found})
    if not name:
        if len(known) < 2:
            raise UsageError(
                "is missing", "it compares the results of two models: make results", knob
            )
        raise UsageError("is missing", f"write make compare A={known[0]} B={known[1]}", knob)
    for path in (paths.RESULTS / name, Path(os.environ.get("BENCHY_CWD", "."), name)):
        if path.is_dir() and list(path.glob("*/results.json")):
            return path
    near = names.near(name, known)
    hint = f"did you mean {knob}={near}?" if near else f"available: {listed(known, 8) or 'none'}"
    raise UsageError(f"{name!r} has no results", hint, knob)


def sides(a: Path, b: Path, tasks: Sequence[str]) -> dict[str, tuple[Side, Side]]:
    """Return the results of each task that both directories have, or only of `tasks`.

    Raises:
        UsageError: One of `tasks` is not in both directories, or they have no task in common.
        Failure: A result is damaged.
    """
    common = {p.parent.name for p in a.glob("*/results.json")}
    common &= {p.parent.name for p in b.glob("*/results.json")}
    for task in tasks:
        if task not in common:
            raise UsageError(
                f"A and B do not both have the task {task!r}",
                f"both have: {', '.join(sorted(common))}",
                "TASK",
            )
    if not common:
        raise UsageError(f"{a} and {b} have no task in common", "see `make status`")
    pairs = {
        task: (read(a / task), read(b / task))
        for task in sorted(common)
        if not tasks or task in tasks
    }
    old = result_status.stale(side.result.limit for pair in pairs.values() for side in pair)
    return {
        task: (aged(side_a, old), aged(side_b, old)) for task, (side_a, side_b) in pairs.items()
    }


def by(sides: tuple[Side, Side], metric: str | None) -> tuple[Side, Side]:
    """Return both sides with the metric that the task's file names."""
    a, b = sides
    return replace(a, chosen=metric), replace(b, chosen=metric)


def cannot(a: Side, b: Side) -> str:
    """Return the reason why a task has no row."""
    for name, side in (("A", a), ("B", b)):
        if side.entry.score is None:
            return f"{name} {side.entry.doubts[0]}"
    return f"no task of the harness has the metric {a.entry.metric} on both sides"


def warnings(both: Mapping[str, tuple[Side, Side]]) -> list[str]:
    """Return a line for each mark of the results, such as "B: smoke: 6 of 6 answers empty"."""
    names_of: dict[tuple[str, str], list[str]] = {}
    for task, pair in both.items():
        for name, side in zip("AB", pair, strict=True):
            for mark in side.entry.own:
                names_of.setdefault((task, mark), []).append(name)
    return [f"{' and '.join(names)}: {task}: {mark}" for (task, mark), names in names_of.items()]


def read(where: Path) -> Side:
    return Side(where, document.read(where / "results.json"))


def aged(side: Side, old: Mapping[Path, bool]) -> Side:
    """Return the side with `stale` set. old: whether each result is stale, by path."""
    return replace(side, stale=old.get(side.directory / "results.json"))


def unlike(a: Result, b: Result) -> list[str]:
    """Return the differences that make the numbers of two results incomparable, as texts."""
    return [f"{what}: {x} and {y}" for what, x, y in comparability.differences(a, b)]

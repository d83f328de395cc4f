"""The content of the leaderboard: results by row and column, groups of tasks, and their means.

Reads the results, and from configs/ only config.yaml (groups) and tasks/*.yaml (a task's main
metric and description). exports.py writes the content as pages and files. docs/leaderboard.md
explains how the numbers are computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchy.core import paths
from benchy.core.errors import ConfigError, Failure
from benchy.evaluation import marks, scores
from benchy.evaluation.marks import Mark, MarkKind
from benchy.evaluation.result import Score
from benchy.evaluation.scored_result import STALE, UNASKED, ScoredResult
from benchy.plan import result_status
from benchy.reporting import comparability
from benchy.reporting.collection import collect

if TYPE_CHECKING:  # it imports pydantic, which is slow
    from benchy.config import settings_schema

UNLIKE = Mark(MarkKind.UNLIKE_RESULTS, "of unlike results")
DOUBTED = Mark(MarkKind.DOUBTED_RESULTS, "of marked results")


@dataclass(frozen=True)
class BoardSettings:
    """The settings of the leaderboard in configs/. metrics: the main metric of each task that names
    one; about: the description of each task."""

    groups: dict[str, settings_schema.Group] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)


def settings() -> BoardSettings:
    """Read the settings; they are empty without configs/. Raise ConfigError with the mistakes in
    config.yaml and the task files."""
    if not paths.CONFIGS.is_dir():
        return BoardSettings()
    from benchy.config import loader  # noqa: PLC0415 - importing it is slow; some callers skip it

    config, tasks = loader.load_leaderboard(Path())
    return BoardSettings(
        dict(config.leaderboard.groups),
        {name: task.metric for name, task in tasks.items() if task.metric},
        {name: task.description for name, task in tasks.items()},
    )


def settings_or_none() -> tuple[BoardSettings, list[str]]:
    """Return the settings, and the mistakes of the configs as texts.

    With a mistake the settings are empty, and every task uses its first metric.
    """
    try:
        return settings(), []
    except ConfigError as error:
        return BoardSettings(), [str(mistake) for mistake in error.mistakes]


def chosen(entries: Sequence[ScoredResult]) -> tuple[list[ScoredResult], list[str]]:
    """Return the entries with the metrics that their task files name, and the mistakes of the
    configs as texts."""
    configured, mistakes = settings_or_none()
    return [replace(e, chosen=configured.metrics.get(e.task)) for e in entries], mistakes


@dataclass(frozen=True)
class Column:
    """A task of the table.

    Attributes:
        task: The name of the task.
        metric: The metric of most of its results, without ",none".
        factor: The factor that scales a value to 0 … 1; None if the metric has no such scale.
        better: 1 if higher is better, -1 if lower is better, 0 if unknown.
        about: The description of the task.
        part: "mean of 3 of 6 tasks", if most of its results are such a mean.
    """

    task: str
    metric: str
    factor: float | None
    better: int
    about: str = ""
    part: str = ""

    def shares(self, mark: Mark) -> bool:
        """Return whether the column's head has this mark, so that its cells do not repeat it."""
        return mark.kind is MarkKind.PARTIAL and mark == self.part

    def share(self, score: Score | None) -> float | None:
        """Scale a score to 0 … 1, where higher is better.

        Return None if there is no score, if its metric is not the column's, or if the metric has no
        such scale or direction.
        """
        if score is None or self.factor is None or not self.better:
            return None
        if scores.short(score.metric) != self.metric:
            return None
        value = score.value * self.factor
        return value if self.better > 0 else 1 - value


@dataclass(frozen=True)
class Mean:
    """A group's mean for one model.

    Attributes:
        value: The mean, 0 … 1.
        stderr: Its standard error; None if a result has none.
        kinds: The kinds of its results; () if all are of kind 0.
        doubted: Whether one of its results has a mark of its own that its column does not have.
    """

    value: float
    stderr: float | None
    kinds: tuple[int, ...] = ()
    doubted: bool = False

    @property
    def marks(self) -> list[Mark]:
        """What a reader must know before comparing the mean."""
        return [UNLIKE] * bool(self.kinds) + [DOUBTED] * self.doubted


@dataclass(frozen=True)
class Row:
    """The results of one model and limit. cells: in the order of the columns; means: in the order
    of the groups; None where there is none."""

    model: str
    name: str
    limit: int | None
    release: str
    fallback: str
    stale: bool
    cells: list[ScoredResult | None]
    means: list[Mean | None]

    @property
    def unasked(self) -> bool:
        """Whether no config requests any of its results."""
        return all(e.unasked for e in self.cells if e)

    @property
    def marks(self) -> list[Mark]:
        """What a reader must know before comparing the row's numbers."""
        row_marks = [Mark(MarkKind.FALLBACK, self.fallback)] if self.fallback else []
        if self.limit is not None:
            row_marks.append(marks.limit(self.limit))
        return row_marks + [STALE] * self.stale + [UNASKED] * self.unasked

    def brief(self, entry: ScoredResult, column: Column) -> list[str]:
        """Return the short marks of a result that neither its row nor its column has."""
        return [
            mark.brief
            for mark in entry.brief
            if not column.shares(mark) and not (mark.kind is MarkKind.UNREQUESTED and self.unasked)
        ]

    @property
    def fair(self) -> bool:
        """Whether one of its numbers can be the best of a column."""
        return not self.marks


@dataclass(frozen=True)
class Board:
    columns: list[Column]
    groups: dict[str, settings_schema.Group]
    rows: list[Row]
    entries: list[ScoredResult]


def column(task: str, entries: Sequence[ScoredResult], about: str = "") -> Column:
    """Return the column of a task. entries: all its results. Those without a score do not count,
    unless no result has one."""
    scored = [(e, e.score) for e in entries if e.score]
    if not scored:
        return Column(task, entries[0].metric, None, 0, about)
    names = [e.metric for e, _ in scored]
    metric = max(sorted(set(names)), key=names.count)
    parts = [e.part or "" for e, _ in scored if e.metric == metric]
    part = max(sorted(set(parts)), key=parts.count)
    chosen_scores = [score for e, score in scored if e.metric == metric]
    better = {s.higher_is_better for s in chosen_scores}
    factor = scores.factor(metric, [s.value for s in chosen_scores])
    direction = 1 if better == {True} else -1 if better == {False} else 0
    return Column(task, metric, factor, direction, about, part)


def mean(
    group: settings_schema.Group, columns: Mapping[str, Column], mine: Mapping[str, ScoredResult]
) -> Mean | None:
    """Return the weighted mean of a group's tasks, 0 … 1. mine: one model's results by task.

    Return None unless each task has a result that a config requests, on the scale of its column.
    The standard error treats the errors of the tasks as independent.
    """
    total = value = square = 0.0
    errors, kinds, doubted = True, [], False
    for task, weight in group.weights.items():
        entry = mine.get(task)
        score = entry.score if entry else None
        share = columns[task].share(score) if entry else None
        if entry is None or score is None or entry.unasked or share is None:
            return None
        kinds.append(entry.kind)
        doubted |= any(not columns[task].shares(mark) for mark in entry.own)
        total += weight
        value += weight * share
        if score.stderr is None:
            errors = False
        else:
            square += (weight * score.stderr * (columns[task].factor or 0)) ** 2
    stderr = math.sqrt(square) / total if errors else None
    return Mean(value / total, stderr, tuple(kinds) if any(kinds) else (), doubted)


def _distinct_names(entries: Sequence[ScoredResult]) -> list[ScoredResult]:
    """Return the entries with their kinds, and with the facts that distinguish them from kind 0."""
    of_task: dict[str, list[int]] = {}
    for n, e in enumerate(entries):
        of_task.setdefault(e.task, []).append(n)
    out = list(entries)
    for places in of_task.values():
        kinds, samples = comparability.kinds([entries[n].result for n in places])
        apart = [
            tuple(
                d for d in comparability.differences(s, samples[0]) if d[0] != comparability.LIMIT
            )
            for s in samples
        ]
        for n, kind in zip(places, kinds, strict=True):
            if kind:
                out[n] = replace(entries[n], kind=kind, unlike=apart[kind])
    return out


def board(entries: Sequence[ScoredResult], configured: BoardSettings) -> Board:
    """Return the table: one row for each model and limit, results without a limit first."""
    entries = _distinct_names(entries)
    of_task: dict[str, list[ScoredResult]] = {}
    by_row: dict[tuple[int, str], dict[str, ScoredResult]] = {}
    for e in entries:
        of_task.setdefault(e.task, []).append(e)
        by_row.setdefault((e.result.limit or 0, e.model), {})[e.task] = e
    columns = {t: column(t, of_task[t], configured.about.get(t, "")) for t in sorted(of_task)}
    rows = []
    for (limit, model), mine in sorted(by_row.items()):
        engines = [e.result.engine for e in mine.values()]
        rows.append(
            Row(
                model,
                next(iter(mine.values())).result.model.name,
                limit or None,
                ", ".join(sorted({f"{engine.package} {engine.answered}" for engine in engines})),
                "; ".join(
                    sorted(
                        {m for e in mine.values() for m in e.marks if m.kind is MarkKind.FALLBACK}
                    )
                ),
                any(e.stale for e in mine.values()),
                [mine.get(task) for task in columns],
                [mean(group, columns, mine) for group in configured.groups.values()],
            )
        )
    return Board(list(columns.values()), dict(configured.groups), rows, list(entries))


def load_board(configured: BoardSettings | None = None) -> tuple[Board, list[Failure], list[str]]:
    """Return the board of all results, the damaged results, and the mistakes of the configs as
    texts. With a mistake, the board is made without the settings of the configs."""
    mistakes: list[str] = []
    if configured is None:
        configured, mistakes = settings_or_none()
    entries, damaged = collect()
    old = result_status.stale({e.result.limit for e in entries})
    requested = result_status.requested()
    entries = [
        replace(
            e,
            chosen=configured.metrics.get(e.task),
            stale=old.get(e.path),
            unasked=requested is not None and (e.model, e.task) not in requested,
        )
        for e in entries
    ]
    return board(entries, configured), damaged, mistakes

"""What a leaderboard says: every result, the number that stands for it, groups of tasks and their
means. No page and no file format here; report.py, status and compare read this.

Reads results/[limit-N/]<model>/<task>/results.json, and of configs/ only config.yaml (groups) and
tasks/*.yaml (a task's main metric). docs/leaderboard.md says how numbers come about.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchy import paths, schema
from benchy import result as document
from benchy.errors import ConfigError, Failure
from benchy.graph import Graph
from benchy.result import Result, Score

_LIMIT = re.compile(r"limit-([1-9]\d*)")

# Metrics that the harness gives in percent; all others are shares from 0 to 1, or on no scale at
# all. lm_eval/api/metrics.py (sacrebleu's three), tasks/squadv2 and tasks/truthfulqa (0.4.13).
PERCENT = frozenset(
    {
        "bleu", "chrf", "ter", "exact", "best_exact", "best_f1", "HasAns_exact", "HasAns_f1",
        "NoAns_exact", "NoAns_f1", "bleu_max", "bleu_diff", "rouge1_max", "rouge1_diff",
        "rouge2_max", "rouge2_diff", "rougeL_max", "rougeL_diff",
    }
)  # fmt: skip
UNBOUNDED = re.compile(r"perplexity|bits_per|likelihood|loss")


@dataclass(frozen=True)
class Entry:
    """One result and where it lies. chosen: the metric that its task file names (`metric`), None
    for the first. stale: Make would make it anew; None where that is not known."""

    path: Path
    result: Result
    chosen: str | None = None
    stale: bool | None = None

    @property
    def model(self) -> str:
        return self.result.model.config

    @property
    def task(self) -> str:
        return self.result.task.name

    @property
    def score(self) -> Score:
        """The number for a table: of the metric chosen, where the result has it."""
        if self.chosen is None:
            return self.result.score
        return score_by(self.result, self.chosen) or self.result.score

    @property
    def marks(self) -> list[str]:
        """What a reader must know before comparing the number, in words."""
        found = []
        if self.result.fallback:
            engine = self.result.engine
            found.append(f"fallback: {engine.answered} instead of {engine.asked}")
        if self.result.limit is not None:
            found.append(f"limit {self.result.limit}")
        if self.stale:
            found.append("stale")
        return found

    @property
    def value(self) -> str:
        """0.3056 ± 0.0790; numbers on a scale to 100 with two places."""
        score = self.score
        places = 4 if abs(score.value) <= 1 else 2
        error = "" if score.stderr is None else f" ± {score.stderr:.{places}f}"
        return f"{score.value:.{places}f}{error}"

    @property
    def metric(self) -> str:
        return self.score.metric.removesuffix(",none")


def score_by(result: Result, metric: str) -> Score | None:
    """The score by a metric, "acc_norm" or with its filter "exact_match,strict-match"; made as
    result.main_score makes it. None if no part of the task has it."""

    def key_in(found: Mapping[str, document.Metric]) -> str | None:
        return next((k for k in found if metric in (k, k.split(",")[0])), None)

    asked = result.task.task_name
    own = result.groups.get(asked[0]) or result.metrics.get(asked[0]) if len(asked) == 1 else None
    if own and (key := key_in(own)):
        m = own[key]
        return Score(asked[0], key, m.value, m.stderr, m.higher_is_better)
    keys = [key for found in result.metrics.values() if (key := key_in(found))]
    if not keys:
        return None
    parts = {
        name: {keys[0]: found[keys[0]]}
        for name, found in result.metrics.items()
        if keys[0] in found
    }
    return document.main_score([], parts, {})


def collect(
    models: Sequence[str] | None = None, limit: int | None = None, limited: bool | None = None
) -> tuple[list[Entry], list[Failure]]:
    """All results, by limit (whole ones first), model and task, and what is wrong with the others.
    models: only these. limited: True only those with this limit, False only whole ones."""
    entries, damaged = [], []
    for path, its_limit in sorted(_files(), key=lambda f: (f[1] or 0, f[0])):
        model = path.parent.parent.name
        if models is not None and model not in models:
            continue
        if limited is not None and its_limit != (limit if limited else None):
            continue
        try:
            found = document.read(path)
        except Failure as failure:
            damaged.append(failure)
            continue
        if found.limit != its_limit or found.model.config != model:
            damaged.append(
                Failure(
                    f"{path} says that it is of {found.model.config}, limit {found.limit}: it was "
                    "copied here",
                    f"Delete it; the next make makes it anew: rm {path}",
                )
            )
            continue
        entries.append(Entry(path, found))
    return entries, damaged


def _files() -> Iterable[tuple[Path, int | None]]:
    for top in paths.RESULTS.glob("*"):
        found = _LIMIT.fullmatch(top.name)
        for path in top.glob("*/*/results.json" if found else "*/results.json"):
            yield path, int(found[1]) if found else None


def stale(limits: Iterable[int | None]) -> dict[Path, bool]:
    """Whether Make would make a result anew, for each result of the last plan with its limit;
    nothing where there is none.

    Nothing is planned here: a plan depends on the knobs of whoever makes it (SET, LIMIT), and a
    report at the end of a run must not change what the run itself goes by.
    """
    known: dict[Path, bool] = {}
    for limit in sorted(set(limits), key=lambda n: n or 0):
        graph = Graph("/".join(filter(None, ["build", paths.limit_dir(limit)])))
        rules = f"{graph.directory}/rules.mk"
        try:
            plan = graph.read()
        except (OSError, ValueError):
            continue
        if plan["limit"] != limit or not Path(rules).exists():
            continue
        targets = [
            paths.target(model, task, limit)
            for model, facts in plan["models"].items()
            for task in facts["tasks"]
        ]
        try:
            old = set(graph.stale([f"--old-file={rules}", *targets])) if targets else set()
        except Failure:
            continue
        known |= {Path(target): target in old for target in targets}
    return known


@dataclass(frozen=True)
class Settings:
    """What configs/ says of the leaderboard. metrics: task → its main metric, for those that name
    one; about: task → its description."""

    groups: dict[str, schema.Group] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)


def settings() -> Settings:
    """Raises ConfigError with the mistakes of config.yaml and of the task files."""
    if not paths.CONFIGS.is_dir():
        return Settings()
    from benchy import config  # noqa: PLC0415 - reads YAML, which `--table` has no need of

    house, tasks = config.load_leaderboard(Path())
    return Settings(
        dict(house.leaderboard.groups),
        {name: task.metric for name, task in tasks.items() if task.metric},
        {name: task.description for name, task in tasks.items()},
    )


@dataclass(frozen=True)
class Column:
    """A task of the table. metric: what most of its results are measured by, without ",none".
    factor: what a value is multiplied by to be in percent (1 or 100); None if it can't be.
    better: 1 higher, -1 lower, 0 unknown."""

    task: str
    metric: str
    factor: float | None
    better: int
    about: str = ""

    def percent(self, score: Score) -> float | None:
        """0 … 100, more is better; None if the metric is on no such scale or is another one."""
        if self.factor is None or not self.better or _short(score.metric) != self.metric:
            return None
        value = score.value * self.factor
        return value if self.better > 0 else 100 - value


@dataclass(frozen=True)
class Mean:
    """A group's mean for one model: percent, and its standard error (None where one is missing)."""

    value: float
    stderr: float | None


@dataclass(frozen=True)
class Row:
    """One model (and limit), its results in the order of the columns, its means in the groups'."""

    model: str
    name: str
    limit: int | None
    release: str
    fallback: str
    stale: bool
    cells: list[Entry | None]
    means: list[Mean | None]


@dataclass(frozen=True)
class Board:
    columns: list[Column]
    groups: dict[str, schema.Group]
    rows: list[Row]
    entries: list[Entry]


def _short(metric: str) -> str:
    return metric.removesuffix(",none")


def column(task: str, entries: Sequence[Entry], about: str = "") -> Column:
    """entries: all results of the task."""
    names = [e.metric for e in entries]
    metric = max(sorted(set(names)), key=names.count)
    scores = [e.score for e in entries if e.metric == metric]
    better = {s.higher_is_better for s in scores}
    base = metric.split(",")[0]
    factor: float | None
    if UNBOUNDED.search(base):
        factor = None
    elif base in PERCENT:
        factor = 1.0
    else:
        factor = 100.0 if all(0 <= s.value <= 1 for s in scores) else None
    direction = 1 if better == {True} else -1 if better == {False} else 0
    return Column(task, metric, factor, direction, about)


def mean(
    group: schema.Group, columns: Mapping[str, Column], mine: Mapping[str, Entry]
) -> Mean | None:
    """The weighted mean of a group's tasks in percent; None unless all of them are there and on a
    scale. The standard error takes the tasks' errors for independent."""
    total = value = square = 0.0
    errors = True
    for task, weight in group.weights.items():
        entry = mine.get(task)
        percent = columns[task].percent(entry.score) if entry else None
        if entry is None or percent is None:
            return None
        total += weight
        value += weight * percent
        if entry.score.stderr is None:
            errors = False
        else:
            square += (weight * entry.score.stderr * (columns[task].factor or 0)) ** 2
    return Mean(value / total, math.sqrt(square) / total if errors else None)


def board(entries: Sequence[Entry], said: Settings) -> Board:
    """The table: one row for each model and limit, whole results first."""
    of_task: dict[str, list[Entry]] = {}
    found: dict[tuple[int, str], dict[str, Entry]] = {}
    for e in entries:
        of_task.setdefault(e.task, []).append(e)
        found.setdefault((e.result.limit or 0, e.model), {})[e.task] = e
    columns = {t: column(t, of_task[t], said.about.get(t, "")) for t in sorted(of_task)}
    rows = []
    for (limit, model), mine in sorted(found.items()):
        engines = [e.result.engine for e in mine.values()]
        rows.append(
            Row(
                model,
                next(iter(mine.values())).result.model.name,
                limit or None,
                ", ".join(sorted({f"{engine.package} {engine.answered}" for engine in engines})),
                "; ".join(sorted({e.marks[0] for e in mine.values() if e.result.fallback})),
                any(e.stale for e in mine.values()),
                [mine.get(task) for task in columns],
                [mean(group, columns, mine) for group in said.groups.values()],
            )
        )
    return Board(list(columns.values()), dict(said.groups), rows, list(entries))


def whole(said: Settings | None = None) -> tuple[Board, list[Failure], list[str]]:
    """Everything there is: the board, damaged results, and mistakes of the configs in words (the
    leaderboard is then made without what they say)."""
    mistakes: list[str] = []
    if said is None:
        try:
            said = settings()
        except ConfigError as error:
            said, mistakes = Settings(), [str(m) for m in error.mistakes]
    entries, damaged = collect()
    old = stale({e.result.limit for e in entries})
    entries = [Entry(e.path, e.result, said.metrics.get(e.task), old.get(e.path)) for e in entries]
    return board(entries, said), damaged, mistakes

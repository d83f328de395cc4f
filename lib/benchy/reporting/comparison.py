"""bin/compare A B: compare two models, or one model on two releases, sample by sample.

A and B are each a model (`name`, `name@cell`), a model with a limit (`limit-10/name`), or a
directory of tasks, such as a copy of results. Reads <task>/results.json of both, and the samples
that the harness logged in the same directories. Writes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchy.core import hashing, names, paths
from benchy.core.errors import UsageError
from benchy.core.text import listed
from benchy.evaluation import result as document
from benchy.evaluation.result import Result
from benchy.evaluation.scored_result import Entry
from benchy.plan import result_status
from benchy.reporting import comparability, paired_tests, samples
from benchy.reporting.paired_tests import Verdict


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
    def entry(self) -> Entry:
        return Entry(self.directory / "results.json", self.result, self.chosen)

    @property
    def title(self) -> str:
        engine = self.result.engine
        more = ", fallback" * self.result.fallback + ", stale" * bool(self.stale)
        return f"{self.result.model.config} ({engine.package} {engine.answered}{more})"


@dataclass(frozen=True)
class Sample:
    """One logged sample. doc: a hash of its document; value: its number for the compared metric;
    whole: everything that the harness logged of it."""

    doc: str
    value: float
    whole: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """The comparison of one metric of one task or group of the harness.

    Attributes:
        task: The name in the harness.
        metric: "metric,filter".
        a: The value of A.
        b: The value of B.
        verdict: The statistics. If lower is better, its gained and lost follow `gained` and `lost`.
        better: Whether higher is better; None if unknown.
        parts: The harness tasks whose samples the row covers.
        gained: IDs of the samples on which B is better.
        lost: IDs of the samples on which A is better.
        p: The p-value, adjusted for the number of rows.
        label: The name for a reader. It has the task file's name, since two task files may name
            the same harness task.
    """

    task: str
    metric: str
    a: float
    b: float
    verdict: Verdict
    better: bool | None
    parts: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    p: float | None = None
    label: str = ""

    @property
    def word(self) -> str:
        """Which side is better, or why this is unknown, in two words at most."""
        if self.verdict.difference == 0 and not self.verdict.gained + self.verdict.lost:
            return "same"
        if self.verdict.few and self.verdict.n < paired_tests.FEWEST:
            return "too few"
        if self.p is None:
            return "no test"
        if self.p >= paired_tests.LEVEL:
            return "noise"
        up = self.verdict.difference > 0
        return "B better" if up == (self.better is not False) else "A better"


def directory(name: str, knob: str) -> Path:
    """Return the directory with the results of A or B. Raise UsageError if there is none.

    name: the value of the knob. knob: "A" or "B", for the message.
    """
    known = sorted({str(p.parent.parent.relative_to(paths.RESULTS)) for p in _all()})
    if not name:
        if len(known) < 2:
            raise UsageError("is missing", "it takes the results of two models: make results", knob)
        raise UsageError("is missing", f"write make compare A={known[0]} B={known[1]}", knob)
    for path in (paths.RESULTS / name, Path(os.environ.get("BENCHY_CWD", "."), name)):
        if path.is_dir() and list(path.glob("*/results.json")):
            return path
    near = names.near(name, known)
    hint = f"did you mean {knob}={near}?" if near else f"there are: {listed(known, 8) or 'none'}"
    raise UsageError(f"{name!r} has no results", hint, knob)


def _all() -> Iterator[Path]:
    yield from paths.RESULTS.glob("*/*/results.json")
    yield from paths.RESULTS.glob("limit-*/*/*/results.json")


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
                f"not both have the task {task!r}",
                f"both have: {', '.join(sorted(common))}",
                "TASK",
            )
    if not common:
        raise UsageError(f"{a} and {b} have no task in common", "see `make status`")
    found = {
        task: (read(a / task), read(b / task))
        for task in sorted(common)
        if not tasks or task in tasks
    }
    old = result_status.stale(side.result.limit for pair in found.values() for side in pair)
    return {task: (aged(one, old), aged(two, old)) for task, (one, two) in found.items()}


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
    found: dict[tuple[str, str], list[str]] = {}
    for task, pair in both.items():
        for name, side in zip("AB", pair, strict=True):
            for mark in side.entry.own:
                found.setdefault((task, mark), []).append(name)
    return [f"{' and '.join(names)}: {task}: {mark}" for (task, mark), names in found.items()]


def read(where: Path) -> Side:
    return Side(where, document.read(where / "results.json"))


def aged(side: Side, old: Mapping[Path, bool]) -> Side:
    """Return the side with `stale` set. old: whether each result is stale, by path."""
    return replace(side, stale=old.get(side.directory / "results.json"))


def unlike(a: Result, b: Result) -> list[str]:
    """Return the differences that make the numbers of two results incomparable, as texts."""
    return [f"{what}: {x} and {y}" for what, x, y in comparability.differences(a, b)]


def logged(side: Side, parts: Sequence[str], key: str) -> dict[str, Sample]:
    """Return the logged samples of these harness tasks by id; {} if none were logged.

    Samples without a number for `key` ("metric,filter") are left out.
    """
    metric, _, chosen = key.partition(",")
    found = {}
    for name, path in samples.files(side.directory, side.result):
        if name not in parts:
            continue
        whose = f"{name} " if len(parts) > 1 else ""
        for one in samples.read(path):
            value = one.get(metric)
            if one.get("filter", "none") == chosen and isinstance(value, bool | int | float):
                doc = one.get("doc_hash") or _hash(one.get("doc"))
                found[f"{whose}{one.get('doc_id')}"] = Sample(str(doc), float(value), one)
    return found


def _hash(value: Any) -> str:
    return hashing.of_text(json.dumps(value, sort_keys=True))


def rows(a: Side, b: Side, task: str, wrong: list[str]) -> list[Row]:
    """Return the rows of one benchy task.

    A score over all samples of a group gives a single row. Otherwise each harness task has a row,
    and several are followed by a row with their mean. Without a common metric there is no row (see
    `cannot`). Differences between the documents of A and B are appended to `wrong`.
    """
    chosen = a.entry.score
    if chosen is None or b.entry.score is None:
        return []
    key = chosen.metric
    leaves = [
        name
        for name in sorted(a.result.metrics)
        if key in a.result.metrics[name] and key in b.result.metrics.get(name, {})
    ]
    group = chosen.of if key in b.result.groups.get(chosen.of, {}) else None
    if group and (whole := row(a, b, group, leaves, key, wrong)).verdict.test != "unpaired":
        return [replace(whole, label=task)]
    found = [row(a, b, name, [name], key, wrong) for name in leaves]
    if group and not found:
        found = [row(a, b, group, [], key, wrong)]
    names_too = len(found) > 1
    found = [replace(r, label=f"{task}: {r.task}" if names_too else task) for r in found]
    if len(found) > 1:
        verdict = paired_tests.together([one.verdict for one in found])
        mean_a = sum(one.a for one in found) / len(found)
        mean_b = sum(one.b for one in found) / len(found)
        title = f"{task}: mean of {len(found)}"
        mean = Row(title, key, mean_a, mean_b, verdict, found[0].better, label=title)
        found.append(mean)
    return found


def row(a: Side, b: Side, task: str, parts: Sequence[str], key: str, wrong: list[str]) -> Row:
    """Return the row of one task or group of the harness.

    Args:
        a: A's result.
        b: B's result.
        task: The task or group of the harness.
        parts: The harness tasks whose samples the row covers.
        key: "metric,filter".
        wrong: Differences between the documents of A and B are appended here.
    """
    one = {**a.result.groups, **a.result.metrics}[task][key]
    two = {**b.result.groups, **b.result.metrics}[task][key]
    ours, theirs = logged(a, parts, key), logged(b, parts, key)
    common = [i for i in ours if i in theirs and ours[i].doc == theirs[i].doc]
    others = len(ours.keys() | theirs.keys()) - len(common)
    if ours and theirs and others and a.result.limit == b.result.limit:
        wrong.append(f"{task}: {others} documents are not the same, {len(common)} are")
    x, y = [ours[i].value for i in common], [theirs[i].value for i in common]
    n = sum(a.result.counts.samples.get(part, 0) for part in parts)
    if not common or (not others and not (_is_mean(x, one.value) and _is_mean(y, two.value))):
        # Samples are not logged, or the metric (BLEU, perplexity) is not a mean over samples.
        verdict = paired_tests.unpaired(one.value, two.value, one.stderr, two.stderr, n)
        return Row(task, key, one.value, two.value, verdict, one.higher_is_better)
    if all(value in (0.0, 1.0) for value in (*x, *y)):
        verdict = paired_tests.right_or_wrong(x, y)
    else:
        verdict = paired_tests.numbers(x, y)
    gained = tuple(i for i in common if theirs[i].value > ours[i].value)
    lost = tuple(i for i in common if theirs[i].value < ours[i].value)
    if one.higher_is_better is False:
        gained, lost = lost, gained
        verdict = replace(verdict, gained=verdict.lost, lost=verdict.gained)
    mean_a, mean_b = sum(x) / len(x), sum(y) / len(y)
    of = tuple(parts)
    return Row(task, key, mean_a, mean_b, verdict, one.higher_is_better, of, gained, lost)


def _is_mean(values: Sequence[float], told: float) -> bool:
    return abs(sum(values) / len(values) - told) <= 1e-6 * max(1.0, abs(told))


def adjusted(found: Sequence[Row]) -> list[Row]:
    """Return the rows with p-values adjusted for the number of rows. A row with a mean does not
    count as another test, because it covers the same samples."""
    single = [r for r in found if r.verdict.test != "combined"]
    ps = iter(paired_tests.holm([r.verdict.p for r in single]))
    return [
        Row(**{**_fields(r), "p": r.verdict.p if r.verdict.test == "combined" else next(ps)})
        for r in found
    ]


def _fields(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}

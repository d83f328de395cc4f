"""bin/compare A B: the same tasks on two models, or on one under two releases, sample by sample.

Reads results/<A>/<task>/results.json and <B>'s, and the samples that the harness logged beside
them. A and B: a model (`name`, `name@cell`), one with a limit (`limit-10/name`), or a directory
that holds tasks, such as a copy kept elsewhere. Writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchy.core import names, paths
from benchy.core.errors import UsageError
from benchy.evaluation import result as document
from benchy.evaluation.result import Result
from benchy.evaluation.scored_result import Entry
from benchy.plan import result_status
from benchy.reporting import comparability, paired_tests, samples
from benchy.reporting.paired_tests import Verdict


@dataclass(frozen=True)
class Side:
    """One result and where it lies. stale: Make would make it anew; None where it is not known.
    chosen: the metric that the task's file names; None for the first."""

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
    """doc: a hash of the document. value: by the metric compared."""

    doc: str
    value: float
    whole: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One metric of one task or group of the harness. label: as a reader knows it, by the task file
    of ours, of which two may name one task of the harness. parts: the tasks whose samples it is
    over. p: with the number of rows allowed for. gained, lost: ids of samples that B has better,
    and A; so too in the verdict, where less is better."""

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
        """Who is better, in a word."""
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
    """Where the results of A or B lie. Raises UsageError."""
    known = sorted({str(p.parent.parent.relative_to(paths.RESULTS)) for p in _all()})
    if not name:
        if len(known) < 2:
            raise UsageError("is missing", "it takes the results of two models: make results", knob)
        raise UsageError("is missing", f"write make compare A={known[0]} B={known[1]}", knob)
    for path in (paths.RESULTS / name, Path(os.environ.get("BENCHY_CWD", "."), name)):
        if path.is_dir() and list(path.glob("*/results.json")):
            return path
    near = names.near(name, known)
    hint = (
        f"did you mean {knob}={near}?" if near else f"there are: {', '.join(known[:8]) or 'none'}"
    )
    raise UsageError(f"{name!r} has no results", hint, knob)


def _all() -> Iterator[Path]:
    yield from paths.RESULTS.glob("*/*/results.json")
    yield from paths.RESULTS.glob("limit-*/*/*/results.json")


def sides(a: Path, b: Path, tasks: Sequence[str]) -> dict[str, tuple[Side, Side]]:
    """The tasks that both have. Raises UsageError, Failure."""
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
    """The same with the metric that the task's file names."""
    a, b = sides
    return replace(a, chosen=metric), replace(b, chosen=metric)


def cannot(a: Side, b: Side) -> str:
    """Why a task gives no row, in words."""
    for name, side in (("A", a), ("B", b)):
        if side.entry.score is None:
            return f"{name} {side.entry.doubts[0]}"
    return f"no task of the harness has the metric {a.entry.metric} on both sides"


def warnings(both: Mapping[str, tuple[Side, Side]]) -> list[str]:
    """The marks of the results, one line for each: "B: smoke: 6 of 6 answers empty"."""
    found: dict[tuple[str, str], list[str]] = {}
    for task, pair in both.items():
        for name, side in zip("AB", pair, strict=True):
            for mark in side.entry.own:
                found.setdefault((task, mark), []).append(name)
    return [f"{' and '.join(names)}: {task}: {mark}" for (task, mark), names in found.items()]


def read(where: Path) -> Side:
    return Side(where, document.read(where / "results.json"))


def aged(side: Side, old: Mapping[Path, bool]) -> Side:
    """With whether it is stale."""
    return replace(side, stale=old.get(side.directory / "results.json"))


def unlike(a: Result, b: Result) -> list[str]:
    """What of two results makes their numbers different things, in words."""
    return [f"{what}: {x} and {y}" for what, x, y in comparability.differences(a, b)]


def logged(side: Side, parts: Sequence[str], key: str) -> dict[str, Sample]:
    """The samples of these tasks of the harness by id, as far as they have a number for the metric
    "metric,filter"; {} where none were logged."""
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
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def rows(a: Side, b: Side, task: str, wrong: list[str]) -> list[Row]:
    """Of one task of benchy's: a row for each task of the harness in it, and their mean where the
    score is one; a single row where the score is over all their samples. What is unlike in their
    documents is added to `wrong`. No row where the two have no metric in common (see `cannot`)."""
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
    """parts: the tasks of the harness whose samples it is over."""
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
        # Not logged, or a metric of the whole (BLEU, perplexity) and not a mean over samples.
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
    """With p-values that allow for how many rows there are. A mean is no test more: it is of the
    same samples."""
    single = [r for r in found if r.verdict.test != "combined"]
    ps = iter(paired_tests.holm([r.verdict.p for r in single]))
    return [
        Row(**{**_fields(r), "p": r.verdict.p if r.verdict.test == "combined" else next(ps)})
        for r in found
    ]


def _fields(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}

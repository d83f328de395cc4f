"""bin/compare A B: compare two models, or one model on two releases, sample by sample.

Reads the samples that the harness logged in the directories of the two sides (see
comparison_sides.py). Writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchy.core import hashing
from benchy.reporting import paired_tests, samples
from benchy.reporting.comparison_sides import Side
from benchy.reporting.paired_tests import Verdict


@dataclass(frozen=True)
class Sample:
    """One logged sample. doc: a hash of its document; value: its number for the compared metric;
    record: everything that the harness logged of it."""

    doc: str
    value: float
    record: dict[str, Any]


@dataclass(frozen=True)
class MetricComparison:
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


def logged(side: Side, parts: Sequence[str], key: str) -> dict[str, Sample]:
    """Return the logged samples of these harness tasks by id; {} if none were logged.

    Samples without a number for `key` ("metric,filter") are left out.
    """
    metric, _, chosen = key.partition(",")
    by_id = {}
    for name, path in samples.files(side.directory, side.result):
        if name not in parts:
            continue
        prefix = f"{name} " if len(parts) > 1 else ""
        for sample in samples.read(path):
            value = sample.get(metric)
            if sample.get("filter", "none") == chosen and isinstance(value, bool | int | float):
                doc = sample.get("doc_hash") or _hash(sample.get("doc"))
                by_id[f"{prefix}{sample.get('doc_id')}"] = Sample(str(doc), float(value), sample)
    return by_id


def _hash(value: Any) -> str:
    return hashing.of_text(json.dumps(value, sort_keys=True))


def rows(a: Side, b: Side, task: str, wrong: list[str]) -> list[MetricComparison]:
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
    sides = (a, b)
    if group and (group_row := row(sides, group, leaves, key, wrong)).verdict.test != "unpaired":
        return [replace(group_row, label=task)]
    task_rows = [row(sides, name, [name], key, wrong) for name in leaves]
    if group and not task_rows:
        task_rows = [row(sides, group, [], key, wrong)]
    names_too = len(task_rows) > 1
    task_rows = [replace(r, label=f"{task}: {r.task}" if names_too else task) for r in task_rows]
    if len(task_rows) > 1:
        verdict = paired_tests.together([r.verdict for r in task_rows])
        mean_a = sum(r.a for r in task_rows) / len(task_rows)
        mean_b = sum(r.b for r in task_rows) / len(task_rows)
        title = f"{task}: mean of {len(task_rows)}"
        mean = MetricComparison(
            title, key, mean_a, mean_b, verdict, task_rows[0].better, label=title
        )
        task_rows.append(mean)
    return task_rows


def row(
    sides: tuple[Side, Side], task: str, parts: Sequence[str], key: str, wrong: list[str]
) -> MetricComparison:
    """Return the row of one task or group of the harness.

    Args:
        sides: The results of A and B.
        task: The task or group of the harness.
        parts: The harness tasks whose samples the row covers.
        key: "metric,filter".
        wrong: Differences between the documents of A and B are appended here.
    """
    a, b = sides
    metric_a, metric_b = ({**s.result.groups, **s.result.metrics}[task][key] for s in sides)
    pairs = paired(a, b, parts, key)
    if pairs.both_logged and pairs.others and a.result.limit == b.result.limit:
        wrong.append(f"{task}: {pairs.others} documents differ, {len(pairs.ids)} are the same")
    if not pairs.explain(metric_a.value, metric_b.value):
        # Samples are not logged, or the metric (BLEU, perplexity) is not a mean over samples.
        n = sum(a.result.counts.samples.get(part, 0) for part in parts)
        verdict = paired_tests.unpaired(
            metric_a.value, metric_b.value, metric_a.stderr, metric_b.stderr, n
        )
        return MetricComparison(
            task, key, metric_a.value, metric_b.value, verdict, metric_a.higher_is_better
        )
    x, y = pairs.a, pairs.b
    binary = all(value in (0.0, 1.0) for value in (*x, *y))
    verdict = (paired_tests.right_or_wrong if binary else paired_tests.numbers)(x, y)
    gained = tuple(i for i, before, after in zip(pairs.ids, x, y, strict=True) if after > before)
    lost = tuple(i for i, before, after in zip(pairs.ids, x, y, strict=True) if after < before)
    if metric_a.higher_is_better is False:
        gained, lost = lost, gained
        verdict = replace(verdict, gained=verdict.lost, lost=verdict.gained)
    mean_a, mean_b = sum(x) / len(x), sum(y) / len(y)
    return MetricComparison(
        task, key, mean_a, mean_b, verdict, metric_a.higher_is_better, tuple(parts), gained, lost
    )


@dataclass(frozen=True)
class Pairs:
    """The samples that A and B have in common.

    Attributes:
        ids: Their IDs.
        a: The values of A, by the order of the IDs.
        b: The values of B, by the order of the IDs.
        others: Number of samples that only one side has, or whose documents differ.
        both_logged: Whether both sides logged samples.
    """

    ids: list[str]
    a: list[float]
    b: list[float]
    others: int
    both_logged: bool

    def explain(self, mean_a: float, mean_b: float) -> bool:
        """Return whether the samples can stand for two metrics.

        If all samples are common, the metrics must be means over them.
        """
        if not self.ids or self.others:
            return bool(self.ids)
        return _is_mean(self.a, mean_a) and _is_mean(self.b, mean_b)


def paired(a: Side, b: Side, parts: Sequence[str], key: str) -> Pairs:
    """Return the common samples of two results for "metric,filter"."""
    ours, theirs = logged(a, parts, key), logged(b, parts, key)
    ids = [i for i in ours if i in theirs and ours[i].doc == theirs[i].doc]
    return Pairs(
        ids,
        [ours[i].value for i in ids],
        [theirs[i].value for i in ids],
        len(ours.keys() | theirs.keys()) - len(ids),
        bool(ours and theirs),
    )


def _is_mean(values: Sequence[float], mean: float) -> bool:
    return abs(sum(values) / len(values) - mean) <= 1e-6 * max(1.0, abs(mean))


def adjusted(comparisons: Sequence[MetricComparison]) -> list[MetricComparison]:
    """Return the rows with p-values adjusted for the number of rows. A row with a mean does not
    count as another test, because it covers the same samples."""
    single = [r for r in comparisons if r.verdict.test != "combined"]
    ps = iter(paired_tests.holm([r.verdict.p for r in single]))
    return [
        replace(r, p=r.verdict.p if r.verdict.test == "combined" else next(ps)) for r in comparisons
    ]

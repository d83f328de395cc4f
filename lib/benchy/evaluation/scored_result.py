"""A result with its score and its marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchy.evaluation import harness_metrics, marks, scores
from benchy.evaluation import result as document
from benchy.evaluation.marks import Mark, MarkKind
from benchy.evaluation.result import Result, Score

STALE = Mark(MarkKind.STALE, "stale")
UNASKED = Mark(MarkKind.UNREQUESTED, "not in any config")
# Its prompts and answers were not checked.
UNCHECKED = Mark(MarkKind.UNCHECKED, "unchecked: of an older benchy")


@dataclass(frozen=True)
class ScoredResult:
    """A result and its place on disk.

    Attributes:
        path: Path of results.json.
        result: The result.
        chosen: Metric that its task file names (`metric`); None for the first.
        stale: Whether Make would make it again; None if not known.
        unasked: Whether no config requests it.
        kind: Results of a task with the same number were measured in the same way; most have 0.
        unlike: (name, own value, value of most) of each fact by which its kind differs.
    """

    path: Path
    result: Result
    chosen: str | None = None
    stale: bool | None = None
    unasked: bool = False
    kind: int = 0
    unlike: tuple[tuple[str, str, str], ...] = ()

    @property
    def model(self) -> str:
        return self.result.model.config

    @property
    def task(self) -> str:
        return self.result.task.name

    @cached_property
    def score(self) -> Score | None:
        """The number for a table, by the chosen metric. None if the result does not have it."""
        return self.result.score if self.chosen is None else score_by(self.result, self.chosen)

    @cached_property
    def doubts(self) -> list[Mark]:
        """Reasons to doubt the number that do not depend on other results."""
        none = [] if self.score or not self.chosen else [marks.no_metric(self.result, self.metric)]
        shots = marks.of_shots(self.result.task, self.path.parent / "spec.json")
        return none + marks.of_checks(self.result.checks) + shots

    @property
    def part(self) -> Mark | None:
        """The mark of a mean over only some of the subtasks."""
        return marks.part(self.score) if self.score else None

    @property
    def own(self) -> list[Mark]:
        """The marks that depend on the result alone."""
        return ([self.part] if self.part else []) + self.doubts

    @property
    def marks(self) -> list[Mark]:
        """All marks: what a reader must know before comparing the number."""
        all_marks = []
        if self.result.fallback:
            engine = self.result.engine
            words = f"fallback: {engine.answered} instead of {engine.asked}"
            all_marks.append(Mark(MarkKind.FALLBACK, words))
        if not self.result.checks:
            all_marks.append(UNCHECKED)
        if self.result.limit is not None:
            all_marks.append(marks.limit(self.result.limit))
        if self.stale:
            all_marks.append(STALE)
        if self.unasked:
            all_marks.append(UNASKED)
        for what, own, most in self.unlike:
            all_marks.append(Mark(MarkKind.UNLIKE, f"{what} {own}, others {most}"))
        return all_marks + self.own

    @property
    def brief(self) -> list[Mark]:
        """The marks of this result alone, without those of its model.

        A table cell shows their `brief`.
        """
        cell_marks = [UNASKED] if self.unasked else []
        if self.unlike:
            words = f"other {', '.join(what for what, _, _ in self.unlike)}"
            cell_marks.append(Mark(MarkKind.UNLIKE, words))
        return cell_marks + self.own

    @property
    def value(self) -> str:
        """The score as text: 0.3056 ± 0.0790, or "-" for none."""
        score = self.score
        return "-" if score is None else scores.with_error(score.value, score.stderr, score.metric)

    @property
    def metric(self) -> str:
        """The metric's name without ",none". If the result lacks it, the name in the task file."""
        return scores.short(self.score.metric if self.score else self.chosen or "")

    @property
    def summary(self) -> str:
        """The score with its own marks on one line: acc 0.0000 (6 of 6 answers empty)."""
        if self.score is None:
            return "; ".join(self.own)
        return f"{self.metric} {self.value}" + (f" ({'; '.join(self.own)})" if self.own else "")


def score_by(result: Result, metric: str) -> Score | None:
    """Return the score by a metric, computed as main_score does. None if no subtask has it.

    `metric` is a name ("acc_norm"), or a name with a filter ("exact_match,strict-match").
    """

    def key_in(metrics: Mapping[str, document.Metric]) -> str | None:
        return next((k for k in metrics if metric in (k, k.split(",")[0])), None)

    names = result.task.task_name
    own = result.groups.get(names[0]) or result.metrics.get(names[0]) if len(names) == 1 else None
    if own and (key := key_in(own)):
        m = own[key]
        return Score(names[0], key, m.value, m.stderr, m.higher_is_better)
    keys = [key for metrics in result.metrics.values() if (key := key_in(metrics))]
    if not keys:
        return None
    # A subtask without the metric is not in the mean, but counts in "mean of 3 of 6 tasks".
    parts = {
        name: {keys[0]: metrics[keys[0]]} if keys[0] in metrics else {}
        for name, metrics in result.metrics.items()
    }
    return harness_metrics.main_score([], parts, {})

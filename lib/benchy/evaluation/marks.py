"""Marks of one result: what a reader must know before trusting its score.

They depend on the result alone (its checks, its shots, its metrics). Marks that compare results
with each other or with the configs are in scored_result.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from benchy.core.specs import read_result
from benchy.core.text import listed
from benchy.evaluation.result import Checks, Result, Score, TaskRecord

NAMED = 3  # subtasks that a mark names
METRICS = 12  # metrics that a mark names


class MarkKind(Enum):
    """The meaning of a mark, for code that depends on it."""

    FALLBACK = "answered by another release than the requested one"
    UNCHECKED = "made by an older benchy, which did not check prompts and answers"
    LIMIT = "only the first documents of each subtask"
    STALE = "Make would make it again"
    UNREQUESTED = "no config requests it"
    UNLIKE = "measured in another way than most results of its task"
    PARTIAL = "a mean over only some of the subtasks"
    TRUNCATED = "prompts were truncated"
    LEAKED = "prompts contain their own answer"
    EMPTY = "answers without text"
    SHOTS = "another num_fewshot than the requested one"
    NO_METRIC = "no number for the metric that its task file names"
    UNLIKE_RESULTS = "a mean of results that were measured in different ways"
    DOUBTED_RESULTS = "a mean of results with marks of their own"


class Mark(str):
    """The text of a mark. `kind` is its meaning, `brief` the text for a table cell."""

    __slots__ = ("brief", "kind")

    kind: MarkKind
    brief: str

    def __new__(cls, kind: MarkKind, words: str, brief: str = "") -> Mark:
        made = super().__new__(cls, words)
        made.kind, made.brief = kind, brief or words
        return made

    def __getnewargs__(self) -> tuple[MarkKind, str, str]:  # type: ignore[override]  # for copies
        return self.kind, str(self), self.brief


def of_checks(checks: Mapping[str, Checks]) -> list[Mark]:
    """Return the marks of prompts and answers, summed over the subtasks.

    Counts that are zero or unknown give no mark. A total covers only subtasks with a known count.
    """
    marks = []
    for kind, name, words, hint in (
        (MarkKind.TRUNCATED, "truncated", "prompts truncated", ""),
        (MarkKind.LEAKED, "leaked", "prompts contain their own answer", " (set fewshot_split)"),
    ):
        counts = [(getattr(c, name), c.prompts) for c in checks.values()]
        counts = [(count, prompts) for count, prompts in counts if count is not None]
        if count := sum(count for count, _ in counts):
            brief = f"{count} of {sum(prompts for _, prompts in counts)} {words}"
            marks.append(Mark(kind, f"{brief}{hint}", brief))
    return marks + _empty(checks)


def _empty(checks: Mapping[str, Checks]) -> list[Mark]:
    empty = sum(_no_text(c) for c in checks.values())
    answers = sum(_answers(c) for c in checks.values())
    if not empty:
        return []
    notes = []
    silent = [name for name, c in checks.items() if all_empty(c)]
    if silent and empty < answers:
        notes.append(f"all of {listed(silent, NAMED)}")
    null = sum(c.null or 0 for c in checks.values())
    if null:
        notes.append(f"{null} with " * (null != empty) + "no text from the server")
    brief = f"{empty} of {answers} answers empty"
    return [Mark(MarkKind.EMPTY, f"{brief} ({'; '.join(notes)})" if notes else brief, brief)]


def all_empty(checks: Checks) -> bool:
    """Return whether the model gave only empty answers to this subtask."""
    return 0 < _answers(checks) <= _no_text(checks)


def _answers(checks: Checks) -> int:
    # Without logged samples, only the answers without text are known: one for each prompt.
    return checks.answers or (checks.prompts if checks.null else 0)


def _no_text(checks: Checks) -> int:
    return max(checks.empty, checks.null or 0)


def of_shots(task: TaskRecord, spec: Path) -> list[Mark]:
    """Return the mark for a requested num_fewshot that not every subtask used.

    If nothing was requested, each subtask uses its own number, and there is no mark. `spec` is the
    spec.json beside the result, which holds the requested number. If it is missing, subtasks with
    different numbers are marked.
    """
    if task.num_fewshot is not None or not task.shots:
        return []
    used = sorted(set(task.shots.values()))
    try:
        requested = read_result(spec)["task"]["num_fewshot"]
    except (OSError, ValueError, KeyError, TypeError):
        differs, suffix = len(used) > 1, ""
    else:
        differs = requested is not None and used != [requested]
        suffix = f" (requested: {requested})"
    if not differs:
        return []
    if len(used) == 1:
        brief = f"num_fewshot is {used[0]}"
        return [Mark(MarkKind.SHOTS, f"{brief}{suffix}", brief)]
    brief = f"num_fewshot differs: {used[0]} - {used[-1]}"
    return [Mark(MarkKind.SHOTS, f"{brief}{suffix}", brief)]


def no_metric(result: Result, metric: str) -> Mark:
    """Return the mark of a result without a number for the metric that its task file names."""
    metric_sets = [*result.groups.values(), *result.metrics.values()]
    names = list(
        dict.fromkeys(key.removesuffix(",none") for metrics in metric_sets for key in metrics)
    )
    has = listed(names, METRICS) or "none"
    return Mark(MarkKind.NO_METRIC, f"has no metric {metric} (it has: {has})", f"no {metric}")


def part(score: Score) -> Mark | None:
    """Return the mark "mean of 3 of 6 tasks" if only some subtasks have the metric."""
    return Mark(MarkKind.PARTIAL, score.of) if score.partial else None


def limit(documents: int) -> Mark:
    """Return the mark of a result over the first documents of each subtask."""
    return Mark(MarkKind.LIMIT, f"limit {documents}")

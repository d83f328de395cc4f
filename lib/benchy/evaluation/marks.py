"""Marks of one result: what a reader must know before believing its score.

Derived from the result alone (its checks, its shots, its metrics). Marks that come from comparing
results with each other or with the configs are in entries.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchy.evaluation.result import Checks, Result, Score, Task

NAMED = 3  # subtasks that a mark names
METRICS = 12  # metrics that a mark names
_PART = re.compile(r"mean of \d+ of \d+ tasks")


class Mark(NamedTuple):
    """words: the whole mark; brief: for a table's cell."""

    words: str
    brief: str


def of_checks(checks: Mapping[str, Checks]) -> list[Mark]:
    """The marks of prompts and answers, summed over the subtasks. Counts that are zero or unknown
    give none; a total covers only the subtasks whose count is known."""
    found = []
    for name, words, hint in (
        ("truncated", "prompts truncated", ""),
        ("leaked", "prompts contain their own answer", " (set fewshot_split)"),
    ):
        known = [(getattr(c, name), c.prompts) for c in checks.values()]
        known = [(count, prompts) for count, prompts in known if count is not None]
        if count := sum(count for count, _ in known):
            brief = f"{count} of {sum(prompts for _, prompts in known)} {words}"
            found.append(Mark(f"{brief}{hint}", brief))
    return found + _empty(checks)


def _empty(checks: Mapping[str, Checks]) -> list[Mark]:
    empty = sum(_no_text(c) for c in checks.values())
    answers = sum(_answers(c) for c in checks.values())
    if not empty:
        return []
    notes = []
    silent = [name for name, c in checks.items() if all_empty(c)]
    if silent and empty < answers:
        more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
        notes.append(f"all of {', '.join(silent[:NAMED])}{more}")
    null = sum(c.null or 0 for c in checks.values())
    if null:
        notes.append(f"{null} with " * (null != empty) + "no text from the server")
    brief = f"{empty} of {answers} answers empty"
    return [Mark(f"{brief} ({'; '.join(notes)})" if notes else brief, brief)]


def all_empty(checks: Checks) -> bool:
    """Did the model give no answer at all to this subtask?"""
    return 0 < _answers(checks) <= _no_text(checks)


def _answers(checks: Checks) -> int:
    # Where samples are not logged, only the answers without any text are known: one for a prompt.
    return checks.answers or (checks.prompts if checks.null else 0)


def _no_text(checks: Checks) -> int:
    return max(checks.empty, checks.null or 0)


def of_shots(task: Task, spec: Path) -> list[Mark]:
    """The mark of a requested num_fewshot that not every subtask obeyed. Where nothing was
    requested, subtasks use what each of them defines, and there is no mark.

    spec: spec.json beside the result, which has the requested number; without it, subtasks with
    different numbers are marked."""
    if task.num_fewshot is not None or not task.shots:
        return []
    used = sorted(set(task.shots.values()))
    try:
        requested = json.loads(spec.read_bytes())["task"]["num_fewshot"]
    except (OSError, ValueError, KeyError, TypeError):
        known, asked = len(used) > 1, ""
    else:
        known, asked = requested is not None and used != [requested], f" (requested: {requested})"
    if not known:
        return []
    if len(used) == 1:
        return [Mark(f"num_fewshot is {used[0]}{asked}", f"num_fewshot is {used[0]}")]
    brief = f"num_fewshot differs: {used[0]} - {used[-1]}"
    return [Mark(f"{brief}{asked}", brief)]


def no_metric(result: Result, metric: str) -> Mark:
    """The mark of a result that has no number for the metric that its task file names."""
    found = [*result.groups.values(), *result.metrics.values()]
    names = list(dict.fromkeys(key.removesuffix(",none") for one in found for key in one))
    more = f", and {len(names) - METRICS} more" if len(names) > METRICS else ""
    has = f"{', '.join(names[:METRICS])}{more}" if names else "none"
    return Mark(f"has no metric {metric} (it has: {has})", f"no {metric}")


def part(score: Score) -> str:
    """ "mean of 3 of 6 tasks" where only some subtasks have the metric; "" otherwise."""
    return score.of if _PART.fullmatch(score.of) else ""

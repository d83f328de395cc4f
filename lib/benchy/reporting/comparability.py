"""Facts that must be equal for the numbers of two results to be comparable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from benchy.core.text import shorten
from benchy.evaluation.result import Result
from benchy.plan import changes

LIMIT, SHOTS, FILES = "limit", "num_fewshot of the subtasks", "task files"


def facts(result: Result) -> dict[str, Any]:
    """Return the facts that must be equal, by a readable name."""
    task = result.task
    return {
        LIMIT: result.limit,
        "harness": f"{result.harness.name} {result.harness.version}",
        "task_name": task.task_name,
        "task version": task.versions,
        FILES: task.files if task.content is None else task.content,
        "num_fewshot": task.num_fewshot,
        SHOTS: task.shots,
        "gen_kwargs": task.gen_kwargs,
        "use_chat_completions": result.chat,
        "seed": result.seed,
    }


def differences(a: Result, b: Result) -> list[tuple[str, str, str]]:
    """Return (name, value of a, value of b) for each fact that differs, as texts."""
    facts_a, facts_b = facts(a), facts(b)
    unlike = [what for what, x in facts_a.items() if x != facts_b[what]]
    # Older results do not record the shots. If num_fewshot differs, the shots add nothing.
    if SHOTS in unlike and (not (facts_a[SHOTS] and facts_b[SHOTS]) or "num_fewshot" in unlike):
        unlike.remove(SHOTS)
    if FILES in unlike and same_files(a, b):
        unlike.remove(FILES)
    facts_a[FILES], facts_b[FILES] = a.task.files, b.task.files
    return [(what, *as_texts(what, facts_a[what], facts_b[what])) for what in unlike]


def as_texts(what: str, a: Any, b: Any) -> tuple[str, str]:
    """Return two values of one fact as texts: of mappings the entries that differ, of task files
    the names of those that differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        words = changes.of_files if what == FILES else changes.of_mappings
        return words(a, b)
    return brief(a), brief(b)


def same_files(a: Result, b: Result) -> bool:
    """Return whether the tasks of two results consist of files with the same content.

    An older benchy recorded a digest of every file in the task's folder instead. Then only the
    files that both results name are compared.
    """
    task_a, task_b = a.task, b.task
    if task_a.content is not None and task_b.content is not None:
        return task_a.content == task_b.content
    both = task_a.files.keys() & task_b.files.keys()
    return all(task_a.files[k] == task_b.files[k] for k in both) and bool(
        both or task_a.files == task_b.files
    )


def brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return shorten(text, changes.MOST)


def kinds(results: Sequence[Result]) -> tuple[list[int], list[Result]]:
    """Group the results of one task into kinds: same facts, ignoring the limit.

    Kind 0 has the most results; among equals, it has the newest result. Only results without a
    limit count, if there are any.

    Returns:
        The number of the kind of each result, and one example result of each kind.
    """
    keys = _keys(results)
    groups: dict[tuple[str, str], list[Result]] = {}
    for key, result in zip(keys, results, strict=True):
        groups.setdefault(key, []).append(result)
    unlimited = [key for key, r in zip(keys, results, strict=True) if r.limit is None] or keys

    def rank(key: tuple[str, str]) -> tuple[int, str]:
        return unlimited.count(key), max(r.times.end for r in groups[key])

    order = sorted(groups, key=rank, reverse=True)
    place = {key: n for n, key in enumerate(order)}
    samples = [next((r for r in groups[k] if r.task.shots), groups[k][0]) for k in order]
    return [place[key] for key in keys], samples


def _keys(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return (facts, shots) of each result, as JSON texts.

    A result of an older benchy gets the missing parts from newer ones: the files from a result with
    the same files, the shots from most results whose other facts are equal.
    """
    known: dict[str, list[str]] = {}
    alike, shots = [], []
    newer = [result for result in results if result.task.content is not None]
    for result in results:
        own_facts = facts(result)
        if result.task.content is None:
            same = next((other for other in newer if same_files(other, result)), result)
            own_facts[FILES] = facts(same)[FILES]
        shots.append(json.dumps(own_facts.pop(SHOTS), sort_keys=True))
        alike.append(json.dumps({**own_facts, LIMIT: None}, sort_keys=True))
        if result.task.shots:
            known.setdefault(alike[-1], []).append(shots[-1])
    most = {key: max(sorted(set(texts)), key=texts.count) for key, texts in known.items()}
    return [
        (key, own if result.task.shots else most.get(key, ""))
        for result, key, own in zip(results, alike, shots, strict=True)
    ]

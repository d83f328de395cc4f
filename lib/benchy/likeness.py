"""What makes the numbers of two results different things, whichever model they are of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from benchy.result import Result

LIMIT = "limit"


def facts(result: Result) -> dict[str, Any]:
    """What has to be equal, by its name in words."""
    task = result.task
    return {
        LIMIT: result.limit,
        "harness": f"{result.harness.name} {result.harness.version}",
        "task_name": task.task_name,
        "task version": task.versions,
        "task files": task.files,
        "num_fewshot": task.num_fewshot,
        "gen_kwargs": task.gen_kwargs,
        "use_chat_completions": result.chat,
        "seed": result.seed,
    }


def differences(a: Result, b: Result) -> list[tuple[str, str, str]]:
    """(what, a's, b's) of each fact that is unlike, as texts."""
    two = facts(b)
    return [(what, brief(x), brief(two[what])) for what, x in facts(a).items() if x != two[what]]


def brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else text[:57] + "…"


def kinds(results: Sequence[Result]) -> tuple[list[int], list[Result]]:
    """Sorts the results of one task by what was measured, the limit aside: for each the number of
    its kind, and for each kind one of its results. Kind 0 is what most are of (whole ones, if there
    are any; of kinds with as many results, the one with the newest)."""
    keys = [_key(result) for result in results]
    groups: dict[str, list[Result]] = {}
    for key, result in zip(keys, results, strict=True):
        groups.setdefault(key, []).append(result)
    whole = [key for key, r in zip(keys, results, strict=True) if r.limit is None] or keys

    def rank(key: str) -> tuple[int, str]:
        return whole.count(key), max(r.times.end for r in groups[key])

    order = sorted(groups, key=rank, reverse=True)
    place = {key: n for n, key in enumerate(order)}
    return [place[key] for key in keys], [groups[key][0] for key in order]


def _key(result: Result) -> str:
    return json.dumps({**facts(result), LIMIT: None}, sort_keys=True)

"""Finds which existing results are stale or no longer requested, according to the last plans.

Nothing is planned here: a plan depends on the caller's knobs (SET, LIMIT), and a report at the end
of a run must not change the plan that the run uses. Reads build/**/plan.json.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.core.specs import PlanIndex, read_plan
from benchy.plan.make import Graph


def stale(limits: Iterable[int | None]) -> dict[Path, bool]:
    """Return whether Make would rebuild a result, for each result of the last plan for its limit.

    Limits without a plan contribute nothing.
    """
    known: dict[Path, bool] = {}
    for limit in sorted(set(limits), key=lambda n: n or 0):
        graph = Graph("/".join(filter(None, ["build", paths.limit_dir(limit)])))
        rules = f"{graph.directory}/rules.mk"
        plan = _read(Path(graph.directory, "plan.json"))
        if not plan or plan["limit"] != limit or not Path(rules).exists():
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


def requested() -> set[tuple[str, str]] | None:
    """Return (model, task) for everything that a config requests, whatever the limit.

    Return None if configs/ was never planned. The newest plan of all configs decides, of whatever
    limit. A config outside of configs/ counts by its last plan as long as its file exists.
    """
    newest = _newest()
    if newest is None:
        return None
    models = newest["models"]
    pairs = {(model, task) for model, facts in models.items() for task in facts["tasks"]}
    for path in paths.BUILD.glob("eval/**/plan.json"):
        plan = _read(path)
        for model, facts in plan["models"].items() if plan else ():
            if model not in models and Path(facts["source"]).exists():
                pairs |= {(model, task) for task in facts["tasks"]}
    return pairs


def _newest() -> PlanIndex | None:
    """Return the newest plan of all configs, by the age of rules.mk, which every plan rewrites."""
    plans: list[tuple[int, PlanIndex]] = []
    for path in (paths.BUILD / "plan.json", *paths.BUILD.glob("limit-*/plan.json")):
        if plan := _read(path):
            rules = path.with_name("rules.mk")
            plans.append(((rules if rules.exists() else path).stat().st_mtime_ns, plan))
    return max(plans, key=lambda entry: entry[0])[1] if plans else None


def _read(path: Path) -> PlanIndex | None:
    try:
        plan = read_plan(path)
        return plan if {"limit", "models"} <= plan.keys() else None
    except (OSError, ValueError):
        return None

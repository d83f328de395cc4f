"""The commands that make a result again, from what the result says of itself."""

from __future__ import annotations

import shlex

from benchy.core import paths
from benchy.evaluation.result import Result


def commands(result: Result) -> str:
    """One a line, as they are typed in benchy's checkout. A result that does not say which file
    asked for it (of an older benchy) is made by its model's name."""
    model, task, limit = result.model.config, result.task.name, result.limit
    lines = []
    if result.git.commit:
        changed = "   # it had changes that were not committed" if result.git.dirty else ""
        lines.append(f"git checkout {result.git.commit}{changed}")
    lines.append(f"rm {paths.target(model, task, limit)}")
    knobs = {"CONFIG": result.source} if result.source else {"MODELS": model}
    knobs |= {"TASKS": task, "SET": result.set, "LIMIT": str(limit or "")}
    words = [f"{name}={shlex.quote(value)}" for name, value in knobs.items() if value]
    secret = "   # *** is a secret, which no result keeps" if "***" in result.set else ""
    goal = "eval" if result.source else "results"
    lines.append(" ".join(["make", goal, *words]) + secret)
    return "\n".join(lines)

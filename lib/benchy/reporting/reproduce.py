"""The commands that reproduce a result, from the facts that it records."""

from __future__ import annotations

import shlex

from benchy.core import paths
from benchy.evaluation.result import Result


def commands(result: Result) -> str:
    """Return the commands, one per line, to run in benchy's checkout.

    A result of an older benchy does not record its config file; its command uses the model's name.
    """
    model, task, limit = result.model.config, result.task.name, result.limit
    lines = []
    if result.git.commit:
        changed = "   # with uncommitted changes" if result.git.dirty else ""
        lines.append(f"git checkout {result.git.commit}{changed}")
    lines.append(f"rm {paths.target(model, task, limit)}")
    knobs = {"CONFIG": result.source} if result.source else {"MODELS": model}
    knobs |= {"TASKS": task, "SET": result.set, "LIMIT": str(limit or "")}
    words = [f"{name}={shlex.quote(value)}" for name, value in knobs.items() if value]
    secret = "   # *** is a secret, which is not in the result" if "***" in result.set else ""
    goal = "eval" if result.source else "results"
    lines.append(" ".join(["make", goal, *words]) + secret)
    return "\n".join(lines)

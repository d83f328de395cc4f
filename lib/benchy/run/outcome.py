"""The outcome of a run: which results it made, which are left, and its exit status."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchy.core.errors import FailureKind
from benchy.core.specs import ModelEntry, PlanIndex
from benchy.environments import health
from benchy.environments.failures import failure_of
from benchy.plan.selection import model_of


@dataclass(frozen=True)
class Outcome:
    """What became of the requested results.

    Attributes:
        stale: Results that are still to be made, or again.
        made: Number of results made.
        unchanged: Number of results that were up to date all the time, including those whose lock
            was resolved again and came out identical.
        not_made: Results that were stale and were not made.
        edited: Results that were made, and are stale again because of an edit during the run.
    """

    stale: frozenset[str]
    made: int
    unchanged: int
    not_made: tuple[str, ...]
    edited: tuple[str, ...]


def outcome(
    requested: Collection[str],
    stale_before: Collection[str],
    stale_now: Collection[str],
    rewritten: Collection[str],
) -> Outcome:
    """Compare the results before and after a run.

    Args:
        requested: The requested results under the plan after the run.
        stale_before: Results that were stale before.
        stale_now: Targets that are stale now.
        rewritten: Results of `stale_before` whose file is a new one.
    """
    targets, made = set(requested), set(rewritten)
    removed = set(stale_before) - targets  # their configs were removed during the run
    stale = (set(stale_now) & targets) | removed
    return Outcome(
        stale=frozenset(stale),
        made=len(made),
        unchanged=len(targets - stale - made),
        not_made=tuple(sorted(stale - made)),
        edited=tuple(sorted((stale & made) - removed)),
    )


def written(target: str) -> tuple[int, int] | None:
    """Return a result's inode and mtime, which change when it is rewritten; None if absent."""
    try:
        stat = Path(target).stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def status_of(not_made: Sequence[str], refused: int, plan: PlanIndex) -> int:
    """Return the exit status of a run: 0 if nothing is left, 2 if only configuration errors are
    left, 1 otherwise. refused: how many models do not fit this machine."""
    if not not_made and not refused:
        return 0
    models = [plan["models"].get(model) for model in {model_of(target) for target in not_made}]
    return 2 if not refused and all(map(names_no_release, models)) else 1


def names_no_release(facts: ModelEntry | None) -> bool:
    """Return whether a model of the plan requests a release that does not exist."""
    envs = [facts["asked"], *facts["harnesses"]] if facts else []
    markers = [failure_of(env) for env in envs if not health.intact(env)]
    return any(marker.get("kind") == FailureKind.NO_SUCH_RELEASE for marker in markers)

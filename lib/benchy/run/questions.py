"""Callbacks that query Make during a run; results are not cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchy.core.specs import ModelEntry


@dataclass(frozen=True)
class Questions:
    """Callbacks that query Make.

    Attributes:
        plan: Updates the plan and returns its models.
        stale: Returns the results of a model that Make would build.
        command: Returns the Make command for a target.
        fetching: Returns the command that prepares a model for serving, [] if it is ready.
        serving: Returns the command that makes results of a model beside its server.
    """

    plan: Callable[[], Mapping[str, ModelEntry]]
    stale: Callable[[str], list[str]]
    command: Callable[[str], list[str]]
    fetching: Callable[[str], list[str]]
    serving: Callable[[str, Sequence[str]], list[str]]

"""Callbacks that query Make during a run; results are not cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Questions:
    """What is asked of Make; each answer is that of the moment.

    plan: brings the plan up to date and gives its models. stale: of a model's results those that
    Make would build. command: how Make is called for targets. fetching: the command that makes a
    model ready to be served, [] if it is. serving: the one that makes its results beside a server.
    """

    plan: Callable[[], Mapping[str, Any]]
    stale: Callable[[str], list[str]]
    command: Callable[[str], list[str]]
    fetching: Callable[[str], list[str]]
    serving: Callable[[str, Sequence[str]], list[str]]

"""The queries to Make on which a run is built; results are not cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from benchy.core.specs import ModelEntry


class MakeQueries(Protocol):
    """Queries to Make, and the commands that call it. graph_queries.py implements them."""

    def plan(self) -> Mapping[str, ModelEntry]:
        """Update the plan and return its models."""

    def stale(self, model: str) -> list[str]:
        """Return the results of a model that Make would build."""

    def command(self, target: str) -> list[str]:
        """Return the Make command for a target."""

    def fetching(self, model: str) -> list[str]:
        """Return the command that prepares a model for serving, [] if it is ready."""

    def serving(self, model: str, targets: Sequence[str]) -> list[str]:
        """Return the command that starts a model's server and makes these results with it."""

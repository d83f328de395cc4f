"""The models of a run's plan, which changes if an environment fails or succeeds after a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchy.core.specs import ModelEntry
from benchy.environments import health
from benchy.run.make_queries import MakeQueries

FRESH = 2.0  # seconds for which the stale results at the start of a run count as current


@dataclass
class CurrentPlan:
    """The models of the plan, and their stale results.

    Attributes:
        make: Queries to Make.
        models: The models of the plan.
        stale_at_start: The results of each model that were stale when the run began; an entry is
            removed when it may be out of date.
        began: The start of the run, in seconds of time.monotonic().
    """

    make: MakeQueries
    models: Mapping[str, ModelEntry]
    stale_at_start: dict[str, list[str]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._updating = asyncio.Lock()

    def environments(self, model: str) -> list[str]:
        """Return the environments of a model, the requested one first."""
        facts = self.models[model]
        return list(dict.fromkeys([facts["asked"], facts["environment"], *facts["harnesses"]]))

    def missing(self, model: str) -> list[str]:
        """Return the environments of a model that cannot be used as they are."""
        return [env for env in self.environments(model) if not health.intact(env)]

    async def update(self) -> None:
        """Update the plan.

        A model whose config was removed during the run keeps its old facts; Make has no rule for
        its results.
        """
        async with self._updating:
            self.models = {**self.models, **await asyncio.to_thread(self.make.plan)}

    async def stale(self, model: str) -> list[str]:
        """Ask Make for the stale results of a model."""
        return await asyncio.to_thread(self.make.stale, model)

    async def stale_when_served(self, model: str) -> list[str]:
        """Return the stale results of a model that has its devices. Ask Make unless the run has
        just begun: another run may have made them while this one waited."""
        known = self.stale_at_start.pop(model, None)
        if known is not None and time.monotonic() - self.began < FRESH:
            return known
        return await self.stale(model)

"""The locks and environments that a run has Make build, on this machine or as jobs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from benchy.core import knobs, paths
from benchy.environments import health
from benchy.run import accounting, cluster_builds
from benchy.run.accounting import RunStats
from benchy.run.commands import Commands
from benchy.run.settings import RunSettings


class EnvironmentBuilds:
    """The builds of a run: each target once, and at most VENV_JOBS at a time.

    Attributes:
        settings: The settings of the run.
        commands: Runs the builds.
        stats: Records which models wait for them.
        job_ends: For each environment whose job failed, how the job ended.
    """

    def __init__(self, settings: RunSettings, commands: Commands, stats: RunStats) -> None:
        self.settings, self.commands, self.stats = settings, commands, stats
        self.job_ends: dict[str, str] = {}
        self._started: dict[str, asyncio.Task[int]] = {}
        few = min(settings.at_once, knobs.count("VENV_JOBS", 2))
        self._at_once = asyncio.Semaphore(few)

    async def build(self, target: str, model: str) -> int:
        """Build a lock or an environment for a model that waits for it. Return Make's status."""
        env = target.rpartition("/")[2].removesuffix(".lock")
        with self.stats.wait(model, accounting.ENVIRONMENT, f"environment {env}"):
            return await self._once(target, functools.partial(self._make, target, env))

    async def build_requested(self, env: str) -> bool:
        """Build an environment without a model, and return whether it is usable."""
        status = await self._make(str(paths.stamp(env)), env)
        if not status and not health.intact(env):  # changed by hand: its stamp still looks current
            status = await self._make(f"environment/{env}", env)
        return not status and health.intact(env)

    async def pack(self, env: str) -> None:
        """Pack an environment into an archive. A failure does not stop the run."""
        command = ["bin/venv", "pack", env]
        await self._once(f"pack/{env}", functools.partial(self.commands.run, command))

    async def cancel(self) -> None:
        """Cancel all builds and wait for their ends."""
        for task in self._started.values():
            task.cancel()
        await asyncio.gather(*self._started.values(), return_exceptions=True)

    async def _once(self, target: str, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
        """Do the work of a target unless it was started before; return its status."""
        if target not in self._started:
            self._started[target] = asyncio.ensure_future(work())
        return await asyncio.shield(self._started[target])

    async def _make(self, target: str, env: str) -> int:
        """Have Make build a target of an environment, and return the status."""
        async with self._at_once:
            if self.settings.launcher and self.settings.build_resources is not None:
                return await cluster_builds.built(self, target, env)
            return await self.commands.run(self.settings.make.command(target))

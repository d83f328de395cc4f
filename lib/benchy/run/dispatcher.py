"""Take the models of one run through their stages: locks, environments, weights, the server with
its tasks. Each stage has its own limit, and no model blocks another.

A waiting model is an entry in a table here; it holds no process and no job. Make builds the
environments, decides which results are stale, and makes them; this module decides when.

- `-j` limits how many models are served at once. Environments are built and weights are downloaded
  ahead of that: at most `-j` at once, and no more than VENV_JOBS and FETCH_JOBS. Models whose
  environments are ready go first, so that none of them waits for another model's environment.
- The models wait in line for devices (device_line.py), in the order of schedule.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import traceback
from collections.abc import Iterator, Sequence

from benchy.core import knobs
from benchy.core.errors import ConfigError, Died, Failure, of_system
from benchy.devices import allocation, leases
from benchy.display.live import Screen
from benchy.display.messages import say
from benchy.run import accounting, cluster_jobs, model_lock
from benchy.run.accounting import RunStats
from benchy.run.board_note import BoardNote
from benchy.run.commands import Commands
from benchy.run.current_plan import CurrentPlan
from benchy.run.device_line import DeviceLine
from benchy.run.environment_builds import EnvironmentBuilds
from benchy.run.environment_stages import EnvironmentStages
from benchy.run.exits import Exit
from benchy.run.settings import RunSettings


class Dispatcher:
    """One run.

    Attributes:
        settings: The settings of the run.
        plan: Its current plan.
        stats: Waiting times, device time and failures.
        failed: Models and environments that failed.
        commands: The commands that it has started.
    """

    def __init__(
        self,
        settings: RunSettings,
        plan: CurrentPlan,
        stats: RunStats | None = None,
        screen: Screen | None = None,
    ) -> None:
        """screen: where commands write, None for stderr of this process."""
        self.settings, self.plan, self.screen = settings, plan, screen
        self.stats = stats or RunStats()
        self.failed: set[str] = set()
        self.commands = Commands(settings.environ, screen)
        self.builds = EnvironmentBuilds(settings, self.commands, self.stats)
        self.environments = EnvironmentStages(plan, self.builds)
        self.devices = DeviceLine(settings.needs, settings.at_once, self.commands.pids)
        self.downloads = asyncio.Semaphore(min(settings.at_once, knobs.count("FETCH_JOBS", 2)))
        self.jobs = asyncio.Semaphore(settings.at_once)

    async def run(self, order: Sequence[str], environments: Sequence[str] = ()) -> None:
        """Run these models, in this order, and build these environments. Failures are added to
        `failed`."""
        loop = asyncio.get_running_loop()
        launcher = self.settings.launcher
        jobs = functools.partial(cluster_jobs.under_way, launcher)
        with (
            self.devices.opened(order, loop),
            self.commands.signals(loop),
            self.screen.shown(loop) if self.screen else contextlib.nullcontext(),
            BoardNote(self.stats, order, jobs).refreshed(loop),
        ):
            # Models that lack no environment check theirs before any build starts.
            ready = sorted(order, key=lambda name: bool(self.plan.missing(name)))
            work = [asyncio.ensure_future(self.guarded(name)) for name in ready]
            work += [asyncio.ensure_future(self.build(env)) for env in environments]
            queue = [asyncio.ensure_future(launcher.queue.watch())] if launcher else []
            try:
                await asyncio.gather(*work)
            finally:
                for task in (*work, *queue):
                    task.cancel()
                await asyncio.gather(self.builds.cancel(), *work, return_exceptions=True)
                if launcher:
                    await asyncio.to_thread(launcher.queue.finish)

    async def build(self, env: str) -> None:
        """Build an environment that was requested without a model."""
        if not await self.builds.build_requested(env):
            self.failed.add(env)

    async def guarded(self, name: str) -> None:
        """Run one model. An error is printed and recorded, and ends only this model."""
        try:
            await self.model(name)
        except Exception as error:  # any error: the other models may run for days
            self.failed.add(name)
            shown = of_system(error) if isinstance(error, OSError) and error.errno else error
            text = str(shown) or type(error).__name__
            self.stats.reasons[name] = (text.splitlines()[0], getattr(error, "log", ""))
            print(text if isinstance(error, ConfigError) else f"failed: {text}", file=sys.stderr)
            if not isinstance(error, ConfigError | Failure | OSError):
                traceback.print_exc()  # a bug in benchy

    async def model(self, name: str) -> Exit:
        """Take one model through its stages, and return where that ended. Raise Failure if an
        environment cannot be built."""
        outlook = self.environments.outlook(name)
        if outlook.may_change_results:
            self.plan.stale_at_start.pop(name, None)
        return (
            await self.environments.resolve_locks(name, outlook)
            or await self.environments.build(name, outlook)
            or await self.fetch_weights(name)
            or await self.serve(name)
        )

    async def fetch_weights(self, name: str) -> Exit | None:
        """Prepare a model for serving. End if that fails, or if the run only fetches."""
        if command := self.settings.make.fetching(name):
            with self.stats.wait(name, accounting.DOWNLOAD, "its weights"):
                async with self.downloads:
                    status = await self.commands.run(command)
            if status:
                self.failed.add(name)
                return Exit.NO_WEIGHTS
        return Exit.FETCHED if self.settings.fetch_only else None

    async def serve(self, name: str) -> Exit:
        """Make a model's stale results, on this machine or as a job. Wait if another run has it."""

        @contextlib.contextmanager
        def waiting() -> Iterator[None]:
            say("WAIT", f"{name}: another run works on it")
            with self.stats.wait(name, accounting.RUN, "another run"):
                yield

        async with model_lock.taken(name, waiting) as waited:
            if waited:
                self.plan.stale_at_start.pop(name, None)
                if not await self.plan.stale(name):
                    return Exit.OTHER_RUN
            if self.settings.launcher:
                async with self.jobs:
                    await cluster_jobs.serve(self, name, self.settings.launcher)
            else:
                await self.serve_here(name)
        return Exit.SERVED

    async def serve_here(self, name: str) -> None:
        """Wait for a model's devices on this machine, and make its stale results."""
        need = self.settings.needs[name]
        count = need.want.count
        with self.stats.wait(name, accounting.DEVICE, f"{count} {need.noun}{'s' * (count > 1)}"):
            lease = await self.devices.lease(name)
        try:
            with self.stats.serve(name, count):
                await self.serve_with(name, need, lease)
        finally:
            self.devices.release(lease)

    async def serve_with(self, name: str, need: allocation.DeviceNeed, lease: leases.Lease) -> None:
        """Make the stale results of a model. If its server dies, start it once more: the harness's
        cache keeps the answers, so the second server runs only what is left."""
        for last_try in (False, True):
            # The first list may be as old as the run; a second try always asks Make.
            ask = self.plan.stale if last_try else self.plan.stale_when_served
            if not (stale := await ask(name)):
                return
            if last_try:
                say("AGAIN", f"{name}: starting its server again for {len(stale)} tasks")
            command = self.settings.make.serving(name, stale)
            handed = allocation.hand(lease, need.visible(lease))
            status = await self.commands.run(command, handed, lease.descriptors)
            if status != Died.STATUS or last_try:
                if status:
                    self.failed.add(name)
                return

"""Take the models of one run through their stages: environments, weights, a lease, the server with
its tasks. Each stage has its own limit, and no model blocks another.

A waiting model is an entry in a table here; it holds no process and no job. Make builds the
environments, decides which results are stale, and makes them; this module decides when.

- `-j` limits how many models are served at once. Environments are built and weights are downloaded
  ahead of that: at most `-j` at once, and no more than VENV_JOBS and FETCH_JOBS. Models whose
  environments are ready go first, so that none of them waits for another model's environment.
- The models wait in line for devices (waiting_line.Line), in the order of schedule.py. The line
  holds only as many models as `-j` lets be served: a model that may not start yet keeps no device
  from others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchy.core import knobs, paths
from benchy.core.errors import ConfigError, Died, Failure, FailureKind, of_system
from benchy.core.specs import ModelEntry, Resources, ServerSpec
from benchy.devices import allocation, leases, waiting_line
from benchy.display import activity
from benchy.display.live import Screen
from benchy.display.messages import say
from benchy.environments import health
from benchy.environments.failures import failure_of
from benchy.process import guardian
from benchy.run import accounting, cluster_jobs, model_lock
from benchy.run.accounting import Tally
from benchy.run.questions import Questions

if TYPE_CHECKING:  # imports the schema and Jinja, which takes 0.1 s
    from benchy.cluster.launcher import Launcher

PIN = 0.5  # seconds between checks whether the board is up to date


@dataclass
class Dispatcher:
    """One run.

    Attributes:
        ask: Callbacks that query Make.
        models: The models of the plan.
        needs: The devices that each model needs.
        jobs: The limit of -j, None for no limit.
        environ: The environment variables of commands.
        locks: Lock files to resolve and stamps of environments to build.
        results: The results of each model that were stale when the run began.
        fetch_only: Whether to stop before the lease.
        failed: Models and environments that failed.
        tally: Waiting times, device time and failures.
        screen: Where commands write, None for stderr of this process.
        launcher: Runs the servers, None for this machine.
        specs: The specs of the servers that the launcher runs.
        builds: The resources that builds request from the launcher, None to build here.
        lost: For each environment whose job failed, how the job ended.
    """

    ask: Questions
    models: Mapping[str, ModelEntry]
    needs: Mapping[str, allocation.DeviceNeed]
    jobs: int | None
    environ: Mapping[str, str]
    locks: frozenset[str] = frozenset()
    results: dict[str, list[str]] = field(default_factory=dict)
    fetch_only: bool = False
    failed: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    screen: Screen | None = None
    launcher: Launcher | None = None
    specs: Mapping[str, ServerSpec] = field(default_factory=dict)
    builds: Resources | None = None
    lost: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        few = self.jobs or 1 << 30
        self.builders = asyncio.Semaphore(min(few, knobs.count("VENV_JOBS", 2)))
        self.fetchers = asyncio.Semaphore(min(few, knobs.count("FETCH_JOBS", 2)))
        self.planning = asyncio.Lock()
        self.once: dict[str, asyncio.Task[int]] = {}
        self.children: set[asyncio.subprocess.Process] = set()
        self.waiting: dict[str, asyncio.Future[leases.Lease]] = {}
        self.serving = 0
        self.timer: asyncio.TimerHandle | None = None
        self.places = asyncio.Semaphore(few)
        self.pinned_at = 0.0
        self.there: Mapping[str, str] = {}

    # --- a run ------------------------------------------------------------------------------

    async def run(self, order: Sequence[str], environments: Sequence[str] = ()) -> None:
        """Run these models, in this order, and build these environments. Failures are added to
        `failed`."""
        self.rank = {name: at for at, name in enumerate(order)}
        self.begun = time.monotonic()
        loop = asyncio.get_running_loop()
        with (
            waiting_line.Line(allocation.desk()) as self.line,
            self.signals(loop),
            self.screen.shown(loop) if self.screen else contextlib.nullcontext(),
            self.pinned(loop),
        ):
            if self.line.watch.descriptor >= 0:
                loop.add_reader(self.line.watch.descriptor, self.heard)
            # Models that lack no environment check theirs before any build starts.
            ready = sorted(order, key=lambda name: bool(self.missing(name)))
            models = [asyncio.ensure_future(self.guarded(name)) for name in ready]
            models += [asyncio.ensure_future(self.built(env)) for env in environments]
            queue = asyncio.ensure_future(self.launcher.queue.watch()) if self.launcher else None
            try:
                await asyncio.gather(*models)
            finally:
                for task in (*models, *self.once.values(), *([queue] if queue else [])):
                    task.cancel()
                await asyncio.gather(*models, *self.once.values(), return_exceptions=True)
                if self.launcher:
                    await asyncio.to_thread(self.launcher.queue.finish)
                if self.timer:
                    self.timer.cancel()
                if self.line.watch.descriptor >= 0:
                    loop.remove_reader(self.line.watch.descriptor)

    @contextlib.contextmanager
    def signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """End the run at a signal and wait for its children; a second one sends them TERM again."""
        main = asyncio.current_task()
        self.came = 0
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup
        numbers = [n for n in guardian.STOPS if not (ignored and n == signal.SIGHUP)]

        def stop(number: int) -> None:
            if not self.came:
                self.came = number
                assert main
                main.cancel()
            else:
                for child in self.children:
                    with contextlib.suppress(ProcessLookupError):
                        child.terminate()

        for number in numbers:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def pinned(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Keep the board up to date with what each model waits for."""

        def pin() -> None:
            self.pinning = loop.call_later(PIN, pin)
            late = time.monotonic() - self.pinned_at > activity.HEARTBEAT
            there = cluster_jobs.standing(self.launcher)
            if self.tally.changed or late or there != self.there:
                self.tally.changed, self.pinned_at = False, time.monotonic()
                self.there = there
                waiting = sorted(self.tally.waiting.items(), key=lambda i: self.rank.get(i[0], 0))
                said = {name: what for name, (_, what) in waiting}
                activity.put_run(said, self.tally.began, there, self.tally.plan)

        pin()
        try:
            yield
        finally:
            self.pinning.cancel()

    async def guarded(self, name: str) -> None:
        """Run one model. An error is printed and recorded, and ends only this model."""
        try:
            await self.model(name)
        except Exception as error:  # any error: the other models may run for days
            self.failed.add(name)
            told = of_system(error) if isinstance(error, OSError) and error.errno else error
            text = str(told) or type(error).__name__
            self.tally.reasons[name] = (text.splitlines()[0], getattr(error, "log", ""))
            print(text if isinstance(error, ConfigError) else f"failed: {text}", file=sys.stderr)
            if not isinstance(error, ConfigError | Failure | OSError):
                traceback.print_exc()  # a bug in benchy

    async def model(self, name: str) -> None:
        """Take one model through all stages. Raise Failure if an environment cannot be built."""
        asked = self.missing(name)
        locks = [str(paths.lock(e)) for e in self.environments(name)]
        due = [lock for lock in locks if lock in self.locks]
        broken = {lock for lock in due if await self.build(lock, name)}
        retry = bool(self.models[name]["fallback"])
        if asked or due or retry:
            self.results.pop(name, None)
        if broken or due:
            await self.replan()
        if due and not retry and not broken and not await self.stale(name):
            return  # the new lock is identical
        facts = self.models[name]
        for env in dict.fromkeys([facts["asked"], *facts["harnesses"]]):
            settled = str(paths.stamp(env)) not in self.locks and health.well(env) and not due
            if str(paths.lock(env)) not in broken and not settled:
                await self.build(f"environment/{env}", name)
        if asked or retry:
            await self.replan()
        for env in self.environments(name):
            tried = env == self.models[name]["asked"] or str(paths.lock(env)) in broken
            if not health.well(env) and not tried:
                await self.build(f"environment/{env}", name)
        facts = self.models[name]
        for env in (facts["environment"], *facts["harnesses"]):
            if not health.well(env):
                raise unbuilt(name, env, f": its {self.lost[env]}" if env in self.lost else "")
        if not self.fetch_only and (retry or due) and not await self.stale(name):
            return
        if facts["fallback"]:
            say("FALLBACK", f"{name}: {facts['environment']} serves instead of {facts['asked']}")
        if fetching := self.ask.fetching(name):
            with self.tally.wait(name, accounting.DOWNLOAD, "its weights"):
                async with self.fetchers:
                    status = await self.command(fetching)
            if status:
                self.failed.add(name)
                return
        if not self.fetch_only:
            await self.served(name)

    # --- stages -----------------------------------------------------------------------------

    def environments(self, name: str) -> list[str]:
        """Return a model's environments in the current plan, the requested one first."""
        facts = self.models[name]
        return list(dict.fromkeys([facts["asked"], facts["environment"], *facts["harnesses"]]))

    def missing(self, name: str) -> list[str]:
        return [e for e in self.environments(name) if not health.well(e)]

    async def build(self, target: str, name: str) -> int:
        """Have Make build a lock or an environment for a model that waits for it, once per run.
        Return Make's exit status."""

        env = target.rpartition("/")[2].removesuffix(".lock")
        if target not in self.once:
            self.once[target] = asyncio.ensure_future(self.make(target, env))
        with self.tally.wait(name, accounting.ENVIRONMENT, f"environment {env}"):
            return await asyncio.shield(self.once[target])

    async def built(self, env: str) -> None:
        """Build an environment that was requested without a model."""
        status = await self.make(str(paths.stamp(env)), env)
        if not status and not health.well(env):  # changed by hand: its stamp still looks current
            status = await self.make(f"environment/{env}", env)
        if status or not health.well(env):
            self.failed.add(env)

    async def make(self, target: str, env: str) -> int:
        """Have Make build a target of an environment, here or as a job. Return the exit status."""
        async with self.builders:
            argv = self.ask.command(target)
            if self.launcher and self.builds is not None:
                return await cluster_jobs.built(self, self.launcher, target, env, argv)
            return await self.command(argv)

    def seconds(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self.begun

    async def replan(self) -> None:
        """Update the plan, which changes if an environment fails or succeeds after a failure.

        A model whose config was removed during the run keeps its old facts; Make has no rule for
        its results.
        """
        async with self.planning:
            self.models = {**self.models, **await asyncio.to_thread(self.ask.plan)}

    async def stale(self, name: str) -> list[str]:
        return await asyncio.to_thread(self.ask.stale, name)

    async def served(self, name: str) -> None:
        """Make a model's stale results, on this machine or as a job. Wait if another run has it."""

        @contextlib.contextmanager
        def another() -> Iterator[None]:
            say("WAIT", f"{name}: another run is at it")
            with self.tally.wait(name, accounting.RUN, "another run"):
                yield

        async with model_lock.taken(name, another) as waited:
            if waited:
                self.results.pop(name, None)
                if not await self.stale(name):
                    return  # the other run made them
            await self.placed(name)

    async def placed(self, name: str) -> None:
        """Do the work of `served` while this run holds the model's lock."""
        if self.launcher:
            async with self.places:
                await cluster_jobs.launched(self, name, self.launcher)
            return
        count = self.needs[name].want.count
        what = f"{count} {self.needs[name].noun}{'s' if count > 1 else ''}"
        with self.tally.wait(name, accounting.DEVICE, what):
            held = await self.lease(name)
        with self.tally.serve(name, count):
            await self.beside(name, held)

    async def beside(self, name: str, held: leases.Lease) -> None:
        """Make the stale results of a model beside its server, then release its lease."""
        try:
            stale = self.results.pop(name, None) if self.seconds() < 2 else None
            if stale is None:  # another run may have made them while this one waited
                stale = await self.stale(name)
            for again in (True, False):
                if not stale:
                    return
                handed = allocation.hand(held, self.needs[name].visible(held))
                command = self.ask.serving(name, stale)
                status = await self.command(command, handed, held.descriptors)
                if status:
                    self.failed.add(name)
                if status != Died.STATUS or not again:
                    return
                # The harness's cache keeps the answers: the second server runs only what is left.
                stale = await self.stale(name)
                say("AGAIN", f"{name}: its server died; started once more for {len(stale)} tasks")
                self.failed.discard(name)
        finally:
            held.release()
            self.serving -= 1
            self.look()

    async def command(
        self, argv: Sequence[str], more: Mapping[str, str] | None = None, keep: Sequence[int] = ()
    ) -> int:
        """Run a command and return its exit status. Terminate it if this run ends.

        The command has a session of its own: Ctrl-C at a terminal reaches only this process, which
        sends the command TERM once. more: additional environment variables. keep: file descriptors
        that the command inherits.
        """
        parent = os.getpid()
        child = await asyncio.create_subprocess_exec(
            *argv,
            env={**self.environ, **(more or {})},
            pass_fds=keep,
            stdout=self.screen.writer if self.screen else None,
            stderr=self.screen.writer if self.screen else None,
            start_new_session=True,
            preexec_fn=lambda: tied(parent),
        )
        self.children.add(child)
        try:
            return await child.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            await uncancelled(child.wait())
            raise
        finally:
            self.children.discard(child)

    # --- the line for devices ---------------------------------------------------------------

    async def lease(self, name: str) -> leases.Lease:
        """Wait for a model's devices and for a free place under -j, and return the lease."""
        self.waiting[name] = asyncio.get_running_loop().create_future()
        try:
            self.look()
            return await self.waiting[name]
        finally:
            del self.waiting[name]

    def heard(self) -> None:
        if self.line.watch.read_events(self.line.last):
            self.look()

    def look(self) -> None:
        """Grant the available devices to the models next in line, and schedule the next look."""
        while True:
            room = (self.jobs or 1 << 30) - self.serving
            names = [name for name in self.waiting if not self.waiting[name].done()]
            names = sorted(names, key=self.rank.__getitem__)[:room]
            self.line.set_requests({name: self.needs[name].want for name in names})
            given = self.line.grant()
            for name, held in given.items():
                self.serving += 1
                self.waiting[name].set_result(held)
            if not given:
                break
        if words := self.line.reason({os.getpid(), *(child.pid for child in self.children)}):
            rest = f" (and {len(names) - 1} more models)" if len(names) > 1 else ""
            say("WAIT", f"{names[0]}{rest}: {words}")
        if self.timer:
            self.timer.cancel()
        if names:
            now = asyncio.get_running_loop().time()
            due = [at - now for at in self.line.watch.wakeups if at > now]
            # Poll if there is no inotify, as when the user has no instances left.
            most = self.line.pause() if self.line.watch.descriptor >= 0 else 5.0
            pause = min([most, *due])
            self.timer = asyncio.get_running_loop().call_later(pause, self.look)


def unbuilt(model: str, env: str, why: str = "") -> Failure:
    """Return the error of a model whose environment could not be built. why: added to it."""
    marker = failure_of(env)
    if marker.get("kind") == FailureKind.NO_SUCH_RELEASE:
        hint = "fix the configuration and run it again; another release never serves instead"
        return Failure(f"{model}: {marker.get('what', '')}", hint, marker.get("log", ""), page=31)
    return Failure(
        f"{model}: environment {env} could not be built{why}",
        f"fix the cause and run it again; bin/venv info {env} shows more",
        paths.LOGS / "venv" / f"{env}.log",
    )


def tied(parent: int) -> None:
    """Make a child process end with the run, however the run ends. Called in the child."""
    guardian.die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


async def uncancelled(waiting: Awaitable[int]) -> None:
    """Wait even if canceled: a child that was sent TERM must be waited for."""
    task = asyncio.ensure_future(waiting)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)

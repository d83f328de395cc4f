"""Models and builds as jobs of a launcher: started, watched, repeated where that helps.

What was made counts by its files alone, never by a status. A job that ended without them is
repeated where its end says nothing of what ran in it: a node that went, a place that was taken
away.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchy.cluster import multi_node, shared_files
from benchy.cluster.job_queue import UNKNOWN, Job
from benchy.core import paths
from benchy.core.errors import Died
from benchy.display.messages import say
from benchy.environments import health
from benchy.run import accounting, summary
from benchy.run.accounting import Tally

if TYPE_CHECKING:
    from benchy.cluster.launcher import Launcher
    from benchy.run.questions import Questions

PAUSE = 3.0  # seconds before a job that was refused is asked for again; thrice as long each time
TERMINATED = 128 + signal.SIGTERM
# What builds ask for as models do, unless they have a partition of their own; of memory and GPUs
# they take what they get.
SHARED = ("partition", "account", "qos", "time", "cpus", "constraint", "extra")
ANYWHERE = ("account", "cpus")


@dataclass(frozen=True)
class End:
    """Of a job that did not do all that it was to. job: what became of it, None if none came of it.
    again: whether another one may do it. telling: whether the job's state says more than what ran
    in it has said itself."""

    job: Job | None
    again: bool
    telling: bool

    @property
    def words(self) -> str:
        return self.job.whole if self.job else "no job came of it"


class Run(Protocol):
    """What jobs need of the run that they belong to: the members of Dispatcher by these names."""

    ask: Questions
    models: Mapping[str, Any]
    specs: Mapping[str, Mapping[str, Any]]
    builds: Mapping[str, Any] | None
    failed: set[str]
    lost: dict[str, str]
    once: dict[str, asyncio.Task[int]]
    tally: Tally

    async def stale(self, name: str) -> list[str]: ...

    async def command(
        self,
        argv: Sequence[str],
        more: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
    ) -> int: ...


async def launched(run: Run, name: str, launcher: Launcher) -> None:
    """A model's results by a launcher."""
    spec, facts = run.specs[name], run.models[name]
    environments = [facts["environment"], *facts["harnesses"]]
    if launcher.scratch(spec):
        await packed(run, environments)
    end = None
    for tries in range(launcher.says.retries + 1):
        stale = await run.stale(name)
        if not stale:
            run.failed.discard(name)
            return
        if end:
            await delayed(launcher, end, tries)
            say("AGAIN", f"{name}: for {len(stale)} tasks; what was answered is kept")
        argv = launcher.command(name, spec, run.ask.serving(name, stale))
        given = launcher.environ(name, spec, environments)
        before = shared_files.marks(map(Path, stale))
        try:
            status = await served(run, name, launcher, argv, given)
            told = multi_node.told(given)
        finally:
            multi_node.forget(given)
        # Of several nodes one says how it went: who is ended with it has a status of its own.
        alone = not spec.get("nodes") or told is not None
        status = status if told is None else told
        patience = 0.0 if status else shared_files.PATIENCE
        await shared_files.awaited(
            before, functools.partial(shared_files.changed, before), patience
        )
        if not (stale := await run.stale(name)):
            launcher.queue.forget(name)
            return  # whatever the status: one whose node has gone may end with 0, too
        run.failed.add(name)
        end = await ending(name, launcher, status, alone)
        if not end.again:
            if end.telling or not summary.seen(stale, run.tally):
                run.tally.reasons[name] = (f"its {end.words}" if end.job else end.words, "")
            return
        run.failed.discard(name)
    run.failed.add(name)
    what = (
        f"{name} was tried {launcher.says.retries + 1} times; at last: {end.words if end else ''}"
    )
    log = str(paths.LOGS / "serve" / f"{name}.log") if end and end.job else ""
    run.tally.reasons[name] = (what, log)


async def served(
    run: Run, name: str, launcher: Launcher, argv: Sequence[str], given: Mapping[str, str]
) -> int:
    """Run a model's job to its end; the status of its command."""
    queue, count = launcher.queue, int(run.specs[name].get("gpus") or 0)
    command = asyncio.ensure_future(run.command(argv, given))
    try:
        with run.tally.wait(name, accounting.DEVICE, f"a place ({launcher.name})"):
            while not command.done() and not queue.running(name):
                look = asyncio.ensure_future(queue.looked.wait())
                await asyncio.wait([command, look], return_when=asyncio.FIRST_COMPLETED)
                tell(run, name, launcher)
        with run.tally.serve(name, count or 1):
            return await command
    except asyncio.CancelledError:
        command.cancel()
        await asyncio.gather(command, return_exceptions=True)
        raise


async def ending(name: str, launcher: Launcher, status: int, alone: bool = True) -> End:
    """What became of a job whose command has ended with this status and left something to do.
    alone: whether that is the status of what ran in it, not of who was ended along with it."""
    queue, says = launcher.queue, launcher.says
    job = await queue.ended(name)
    stray = bool(job and job.id in queue.strays)
    queue.forget(name)
    if job:
        say("JOB", f"{name}: {job.whole}")
    # Its state says that it ended by itself, so its status says how: 143 if it was asked to end,
    # and not by us, who would not be here.
    itself = not job or job.state in says.by_itself
    asked = itself and (status == TERMINATED or (not alone and status > 128))
    lost = job is None if says.queue else False
    again = bool(job and (job.state in says.again or job.state == UNKNOWN or stray))
    # Below 0 its command was killed here, which may have called its job off.
    again = again or asked or lost or status == Died.STATUS or status < 0
    return End(job, again, not itself or lost)


async def delayed(launcher: Launcher, end: End, tries: int) -> None:
    """Wait until another try makes sense."""
    if not end.job and launcher.says.queue:
        await launcher.queue.room(PAUSE * 3 ** (tries - 1))


async def built(run: Run, launcher: Launcher, target: str, env: str, argv: Sequence[str]) -> int:
    """Something of an environment by a launcher: its lock, or all of it; a status as Make's would
    be."""
    locks = target == str(paths.lock(env))
    files = [paths.lock(env)] if locks else [paths.stamp(env), paths.failed(env)]
    failed = shared_files.marks([paths.failed(env)])
    name, end, status = f"build-{env}", None, 1
    words = launcher.command(name, {"resources": run.builds or {}}, argv)

    def there() -> bool:
        """One that could not be built leaves a marker, and another one serves."""
        if locks or status:
            return status == 0 and files[0].exists()
        return health.well(env) or shared_files.changed(failed)

    for tries in range(launcher.says.retries + 1):
        if end:
            await delayed(launcher, end, tries)
            say("AGAIN", target)
        status = await run.command(words)
        if await shared_files.awaited(files, there, 0.0 if status else shared_files.PATIENCE):
            launcher.queue.forget(name)
            return 0
        end = await ending(name, launcher, status)
        if end.telling:
            run.lost[env] = end.words
        if not end.again:
            break
    return status or 1


async def packed(run: Run, environments: Sequence[str]) -> None:
    """Archives of environments, each once in a run. One that can't be had is told, and no end."""
    for env in environments:
        target = f"pack/{env}"
        if target not in run.once:
            run.once[target] = asyncio.ensure_future(run.command(["bin/venv", "pack", env]))
        await asyncio.shield(run.once[target])


def tell(run: Run, name: str, launcher: Launcher) -> None:
    """On the board: what the queue says of a model's job."""
    if (found := launcher.queue.jobs.get(name)) and name in run.tally.waiting:
        kind, before = run.tally.waiting[name]
        if before != found.words:
            run.tally.waiting[name], run.tally.changed = (kind, found.words), True


def standing(launcher: Launcher | None) -> dict[str, str]:
    """Model → its job, in words, of those that are not over."""
    if not launcher:
        return {}
    over = launcher.says.ended
    jobs = sorted(launcher.queue.jobs.items())
    return {name: job.whole for name, job in jobs if job.state not in (*over, UNKNOWN)}


def building(specs: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """What builds ask a launcher for: what all models do, and over it what config.yaml says for
    them."""
    each: list[Mapping[str, Any]] = [s.get("resources") or {} for s in specs.values()]
    keys = ANYWHERE if "partition" in asked else SHARED
    first = each[0] if each else {}
    same = {k: first[k] for k in keys if k in first and all(a.get(k) == first[k] for a in each)}
    return {**same, **asked}

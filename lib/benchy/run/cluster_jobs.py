"""Run models and builds as jobs of a launcher: start, watch and repeat them.

Only files count as success, never an exit status. A job that ends without its files is repeated if
the cause is not the program in it: a node that failed, or an allocation that was revoked.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from benchy.cluster import multi_node, shared_files
from benchy.cluster.job_queue import UNKNOWN, Job
from benchy.core import paths
from benchy.core.errors import Died
from benchy.core.specs import ModelEntry, Resources, ServerSpec
from benchy.display.messages import say
from benchy.environments import health
from benchy.run import accounting, summary
from benchy.run.accounting import Tally

if TYPE_CHECKING:
    from benchy.cluster.launcher import Launcher
    from benchy.run.questions import Questions

PAUSE = 3.0  # seconds before a refused job is submitted again; tripled with each try
TERMINATED = 128 + signal.SIGTERM
# Resources that builds request if all models agree on them: SHARED, or ANYWHERE if builds have a
# partition of their own. Builds never request the memory or GPUs of models.
SHARED = ("partition", "account", "qos", "time", "cpus", "constraint", "extra")
ANYWHERE = ("account", "cpus")


@dataclass(frozen=True)
class End:
    """The end of a job that left work undone.

    job: the job in its last state, None if the command never became a job. again: whether another
    job may succeed. telling: whether the job's state explains more than the program's own messages.
    """

    job: Job | None
    again: bool
    telling: bool

    @property
    def words(self) -> str:
        return self.job.whole if self.job else "no job came of it"


class Run(Protocol):
    """The members of Dispatcher that jobs use."""

    ask: Questions
    models: Mapping[str, ModelEntry]
    specs: Mapping[str, ServerSpec]
    builds: Resources | None
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
    """Make a model's stale results with a launcher, in at most 1 + `retries` jobs.

    If results are still stale at the end, the model is in `run.failed`, and its reason is in the
    tally unless the program reported one itself.
    """
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
        # With several nodes, one node reports the outcome; the nodes that are terminated with it
        # end with other statuses.
        alone = not spec.get("nodes") or told is not None
        status = status if told is None else told
        patience = 0.0 if status else shared_files.PATIENCE
        await shared_files.awaited(
            before, functools.partial(shared_files.changed, before), patience
        )
        if not (stale := await run.stale(name)):
            launcher.queue.forget(name)
            return  # whatever the status: a job whose node failed may even end with 0
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
    """Run a model's job to its end and return the exit status of its command."""
    queue, count = launcher.queue, run.specs[name]["gpus"]
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
    """Determine how a job ended whose command left work undone, and whether to repeat it.

    status: exit status of the command. alone: whether this is the status of the program itself, not
    of a process that was terminated along with it.
    """
    queue, says = launcher.queue, launcher.says
    job = await queue.ended(name)
    stray = bool(job and job.id in queue.strays)
    queue.forget(name)
    if job:
        say("JOB", f"{name}: {job.whole}")
    # If the state leaves the reason to the program, the status gives it: 143 means that something
    # sent it TERM. This run did not, as it would no longer be here.
    itself = not job or job.state in says.by_itself
    asked = itself and (status == TERMINATED or (not alone and status > 128))
    lost = job is None if says.queue else False
    again = bool(job and (job.state in says.again or job.state == UNKNOWN or stray))
    # Below 0: the command was killed on this machine, which may have canceled its job.
    again = again or asked or lost or status == Died.STATUS or status < 0
    return End(job, again, not itself or lost)


async def delayed(launcher: Launcher, end: End, tries: int) -> None:
    """Wait for room in the queue before the next try, if the last one never became a job."""
    if not end.job and launcher.says.queue:
        await launcher.queue.room(PAUSE * 3 ** (tries - 1))


async def built(run: Run, launcher: Launcher, target: str, env: str, argv: Sequence[str]) -> int:
    """Build an environment's lock, or the whole environment, with a launcher.

    Args:
        run: The run that needs the target.
        launcher: The launcher of the job.
        target: The lock file, or a target of the whole environment.
        env: The environment's name.
        argv: The command that builds the target.

    Returns:
        An exit status as Make returns it: 0 if the files are there.
    """
    locks = target == str(paths.lock(env))
    files = [paths.lock(env)] if locks else [paths.stamp(env), paths.failed(env)]
    failed = shared_files.marks([paths.failed(env)])
    name, end, status = f"build-{env}", None, 1
    words = launcher.command(name, {"resources": run.builds or {}}, argv)

    def there() -> bool:
        """Return whether the target is done. A new failure marker counts for an environment:
        another environment then serves instead."""
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
    """Pack environments into archives, each once per run. A failure does not stop the run."""
    for env in environments:
        target = f"pack/{env}"
        if target not in run.once:
            run.once[target] = asyncio.ensure_future(run.command(["bin/venv", "pack", env]))
        await asyncio.shield(run.once[target])


def tell(run: Run, name: str, launcher: Launcher) -> None:
    """Update a waiting model's entry on the board with the state of its job."""
    if (found := launcher.queue.jobs.get(name)) and name in run.tally.waiting:
        kind, before = run.tally.waiting[name]
        if before != found.words:
            run.tally.waiting[name], run.tally.changed = (kind, found.words), True


def standing(launcher: Launcher | None) -> dict[str, str]:
    """Return a description of each model's job, for the jobs that are not over."""
    if not launcher:
        return {}
    over = launcher.says.ended
    jobs = sorted(launcher.queue.jobs.items())
    return {name: job.whole for name, job in jobs if job.state not in (*over, UNKNOWN)}


def building(specs: Mapping[str, ServerSpec], asked: Resources) -> Resources:
    """Return the resources that builds request: those on which all models agree, overridden by
    `asked`, the resources that config.yaml sets for builds."""
    each: list[Mapping[str, object]] = [spec.get("resources", {}) for spec in specs.values()]
    keys = ANYWHERE if "partition" in asked else SHARED
    first = each[0] if each else {}
    same = {k: first[k] for k in keys if k in first and all(a.get(k) == first[k] for a in each)}
    return cast("Resources", {**same, **asked})

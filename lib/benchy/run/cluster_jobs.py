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
from typing import TYPE_CHECKING, Any, Protocol

from benchy.cluster import multi_node, shared_files
from benchy.cluster.jobs import UNKNOWN, Job
from benchy.core import paths
from benchy.core.errors import Died
from benchy.display.messages import say
from benchy.environments import health
from benchy.run import accounting, summary
from benchy.run.accounting import Tally

if TYPE_CHECKING:  # the launcher imports the schema
    from benchy.cluster.launcher import Launcher
    from benchy.config import schema
    from benchy.run.commands import Commands
    from benchy.run.current_plan import CurrentPlan
    from benchy.run.settings import Settings

PAUSE = 3.0  # seconds before a refused job is submitted again; tripled with each try
TERMINATED = 128 + signal.SIGTERM
# Resources that builds request if all models agree on them: SHARED, or ANYWHERE if builds have a
# partition of their own. Builds never request the memory or GPUs of models.
SHARED = ("partition", "account", "qos", "time", "cpus", "constraint", "extra")
ANYWHERE = ("account", "cpus")


@dataclass(frozen=True)
class End:
    """The end of a job that left work undone.

    job: the job in its last state, None if the command never became a job. repeat: whether another
    job may succeed. explains: whether the job's state explains more than the program's messages.
    """

    job: Job | None
    repeat: bool
    explains: bool

    @property
    def text(self) -> str:
        return self.job.full_text if self.job else "no job was created"


class Builds(Protocol):
    """The members of EnvironmentBuilds that jobs use."""

    @property
    def settings(self) -> Settings: ...
    @property
    def commands(self) -> Commands: ...
    @property
    def job_ends(self) -> dict[str, str]: ...
    async def pack(self, env: str) -> None: ...


class Run(Protocol):
    """The members of Dispatcher that jobs use."""

    @property
    def settings(self) -> Settings: ...
    @property
    def plan(self) -> CurrentPlan: ...
    @property
    def commands(self) -> Commands: ...
    @property
    def builds(self) -> Builds: ...
    @property
    def tally(self) -> Tally: ...
    @property
    def failed(self) -> set[str]: ...


# --- servers --------------------------------------------------------------------------------------


async def serve(run: Run, name: str, launcher: Launcher) -> None:
    """Make a model's stale results with a launcher, in at most 1 + `retries` jobs.

    If results are still stale at the end, the model is in `run.failed`, and its reason is in the
    tally unless the program reported one itself.
    """
    tries, end = launcher.says.retries + 1, None
    facts = run.plan.models[name]
    environments = [facts["environment"], *facts["harnesses"]]
    if launcher.scratch(run.settings.specs[name]):
        for env in environments:
            await run.builds.pack(env)
    for number in range(tries):
        if not (stale := await run.plan.stale(name)):
            return
        if end:
            await wait_for_room(launcher, end, number)
            say("AGAIN", f"{name}: new job for {len(stale)} tasks; finished requests are kept")
        status, own = await attempt(run, name, launcher, stale, environments)
        if not (stale := await run.plan.stale(name)):
            launcher.queue.forget(name)
            return  # whatever the status: a job whose node failed may even end with 0
        end = await ending(name, launcher, status, own)
        if not end.repeat:
            break
    assert end
    run.failed.add(name)
    if end.repeat:
        log = str(paths.LOGS / "serve" / f"{name}.log") if end.job else ""
        run.tally.reasons[name] = (f"{name} failed {tries} times, last: {end.text}", log)
    elif end.explains or not summary.failed_in_run(stale, run.tally):
        run.tally.reasons[name] = (f"its {end.text}" if end.job else end.text, "")


async def attempt(
    run: Run, name: str, launcher: Launcher, stale: Sequence[str], environments: Sequence[str]
) -> tuple[int, bool]:
    """Run one job for stale results, and wait until the results that it made are visible here.

    Args:
        run: The run.
        name: The model.
        launcher: The launcher.
        stale: The results to make.
        environments: The environments of the server and of its tasks.

    Returns:
        The exit status, and whether it is that of the program itself: with several nodes, one node
        records the outcome, and the nodes that are terminated with it end with other statuses.
    """
    spec = run.settings.specs[name]
    argv = launcher.command(name, spec, run.settings.make.serving(name, stale))
    variables = launcher.environ(name, spec, environments)
    before = shared_files.marks(map(Path, stale))
    try:
        status = await run_job(run, name, launcher, argv, variables)
        recorded = multi_node.recorded_status(variables)
    finally:
        multi_node.forget(variables)
    own = not spec.get("nodes") or recorded is not None
    status = status if recorded is None else recorded
    patience = 0.0 if status else shared_files.PATIENCE
    made = functools.partial(shared_files.changed, before)
    await shared_files.awaited(before, made, patience)
    return status, own


async def run_job(
    run: Run, name: str, launcher: Launcher, argv: Sequence[str], variables: Mapping[str, str]
) -> int:
    """Run a model's job to its end and return the exit status of its command."""
    queue, count = launcher.queue, int(run.settings.specs[name].get("gpus") or 0)
    command = asyncio.ensure_future(run.commands.run(argv, variables))
    try:
        with run.tally.wait(name, accounting.DEVICE, f"a job ({launcher.name})"):
            while not command.done() and not queue.running(name):
                look = asyncio.ensure_future(queue.looked.wait())
                await asyncio.wait([command, look], return_when=asyncio.FIRST_COMPLETED)
                update_board(run.tally, name, launcher)
        with run.tally.serve(name, count or 1):
            return await command
    except asyncio.CancelledError:
        command.cancel()
        await asyncio.gather(command, return_exceptions=True)
        raise


def update_board(tally: Tally, name: str, launcher: Launcher) -> None:
    """Update a waiting model's entry on the board with the state of its job."""
    if (job := launcher.queue.jobs.get(name)) and name in tally.waiting:
        kind, before = tally.waiting[name]
        if before != job.text:
            tally.waiting[name], tally.changed = (kind, job.text), True


# --- the end of a job -----------------------------------------------------------------------------


async def ending(name: str, launcher: Launcher, status: int, own: bool = True) -> End:
    """Determine how a job ended whose command left work undone, and whether to repeat it.

    status: exit status of the command. own: whether it is that of the program itself.
    """
    queue = launcher.queue
    job = await queue.ended(name)
    stray = bool(job and job.id in queue.strays)
    queue.forget(name)
    if job:
        say("JOB", f"{name}: {job.full_text}")
    return judge(job, status, launcher.says, own=own, stray=stray)


def judge(
    job: Job | None, status: int, says: schema.Launcher, *, own: bool = True, stray: bool = False
) -> End:
    """Decide whether to repeat a job that left work undone.

    Args:
        job: Its last state, None if the queue never reported it.
        status: Exit status of its command.
        says: The launcher's file.
        own: Whether `status` is that of the program itself, not of a process terminated with it.
        stray: Whether this run canceled the job, since its command had been killed.
    """
    never_queued = job is None and bool(says.queue)
    # If the state leaves the reason to the program, the status gives it: 143 means that something
    # sent it TERM. This run did not, as it would no longer be here.
    program_decides = job is None or job.state in says.by_itself
    terminated = program_decides and (status == TERMINATED or (not own and status > 128))
    by_state = job is not None and (job.state in says.again or job.state == UNKNOWN or stray)
    # Below 0: the command was killed on this machine, which may have canceled its job.
    by_status = status == Died.STATUS or status < 0
    repeat = never_queued or terminated or by_state or by_status
    return End(job, repeat, explains=not program_decides or never_queued)


async def wait_for_room(launcher: Launcher, end: End, tries: int) -> None:
    """Wait for room in the queue before the next try, if the last one never became a job."""
    if not end.job and launcher.says.queue:
        await launcher.queue.room(PAUSE * 3 ** (tries - 1))


# --- builds ---------------------------------------------------------------------------------------


async def built(builds: Builds, target: str, env: str) -> int:
    """Build an environment's lock, or the whole environment, with a launcher.

    Args:
        builds: The builds of the run.
        target: The lock file, or a target of the whole environment.
        env: The environment's name.

    Returns:
        An exit status as Make returns it: 0 if the files are there.
    """
    launcher, resources = builds.settings.launcher, builds.settings.build_resources or {}
    assert launcher
    argv = builds.settings.make.command(target)
    words = launcher.command(f"build-{env}", {"resources": resources}, argv)
    done, end, status = BuiltFiles(target, env), None, 1
    for number in range(launcher.says.retries + 1):
        if end:
            await wait_for_room(launcher, end, number)
            say("AGAIN", target)
        status = await builds.commands.run(words)
        patience = 0.0 if status else shared_files.PATIENCE
        there = functools.partial(done.there, status)
        if await shared_files.awaited(done.files, there, patience):
            launcher.queue.forget(f"build-{env}")
            return 0
        end = await ending(f"build-{env}", launcher, status)
        if end.explains:
            builds.job_ends[env] = end.text
        if not end.repeat:
            break
    return status or 1


class BuiltFiles:
    """The files that tell whether a build has made its target."""

    def __init__(self, target: str, env: str) -> None:
        self.env, self.is_lock = env, target == str(paths.lock(env))
        marker = paths.failed(env)
        self.files = [paths.lock(env)] if self.is_lock else [paths.stamp(env), marker]
        self.marker_before = shared_files.marks([marker])

    def there(self, status: int) -> bool:
        """Return whether the target is done. A new failure marker counts for an environment:
        another environment then serves instead. status: exit status of the build."""
        if self.is_lock or status:
            return status == 0 and self.files[0].exists()
        return health.well(self.env) or shared_files.changed(self.marker_before)


# --- the launcher ---------------------------------------------------------------------------------


def under_way(launcher: Launcher | None) -> dict[str, str]:
    """Return a description of each model's job, for the jobs that are not over."""
    if not launcher:
        return {}
    over = (*launcher.says.ended, UNKNOWN)
    jobs = sorted(launcher.queue.jobs.items())
    return {name: job.full_text for name, job in jobs if job.state not in over}


def build_resources(
    specs: Mapping[str, Mapping[str, Any]], configured: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the resources that builds request: those on which all models agree, overridden by
    `configured`, the resources that config.yaml sets for builds."""
    requests: list[Mapping[str, Any]] = [spec.get("resources") or {} for spec in specs.values()]
    keys = ANYWHERE if "partition" in configured else SHARED
    first = requests[0] if requests else {}
    same = {
        key: first[key]
        for key in keys
        if key in first and all(request.get(key) == first[key] for request in requests)
    }
    return {**same, **configured}

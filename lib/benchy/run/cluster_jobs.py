"""Run models as jobs of a launcher: start, watch and repeat them (job_ends.py)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchy.cluster import multi_node, shared_files
from benchy.cluster.jobs import UNKNOWN
from benchy.core import paths
from benchy.display.messages import say
from benchy.run import accounting, summary
from benchy.run.accounting import RunStats
from benchy.run.job_ends import ending, wait_for_room

if TYPE_CHECKING:  # the launcher imports the schema
    from benchy.cluster.launcher import JobLauncher
    from benchy.run.commands import Commands
    from benchy.run.current_plan import CurrentPlan
    from benchy.run.settings import RunSettings


class Packs(Protocol):
    """The member of EnvironmentBuilds that is used here."""

    async def pack(self, env: str) -> None: ...


class Run(Protocol):
    """The members of Dispatcher that are used here."""

    @property
    def settings(self) -> RunSettings: ...
    @property
    def plan(self) -> CurrentPlan: ...
    @property
    def commands(self) -> Commands: ...
    @property
    def builds(self) -> Packs: ...
    @property
    def stats(self) -> RunStats: ...
    @property
    def failed(self) -> set[str]: ...


async def serve(run: Run, name: str, launcher: JobLauncher) -> None:
    """Make a model's stale results with a launcher, in at most 1 + `retries` jobs.

    If results are still stale at the end, the model is in `run.failed`, and its reason is in
    `run.stats` unless the program reported one itself.
    """
    tries, end = launcher.config.retries + 1, None
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
        run.stats.reasons[name] = (f"{name} failed {tries} times, last: {end.text}", log)
    elif end.explains or not summary.failed_in_run(stale, run.stats):
        run.stats.reasons[name] = (f"its {end.text}" if end.job else end.text, "")


async def attempt(
    run: Run, name: str, launcher: JobLauncher, stale: Sequence[str], environments: Sequence[str]
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
    run: Run, name: str, launcher: JobLauncher, argv: Sequence[str], variables: Mapping[str, str]
) -> int:
    """Run a model's job to its end and return the exit status of its command."""
    queue, count = launcher.queue, run.settings.specs[name]["gpus"]
    command = asyncio.ensure_future(run.commands.run(argv, variables))
    try:
        with run.stats.wait(name, accounting.DEVICE, f"a job ({launcher.name})"):
            while not command.done() and not queue.running(name):
                look = asyncio.ensure_future(queue.looked.wait())
                await asyncio.wait([command, look], return_when=asyncio.FIRST_COMPLETED)
                update_board(run.stats, name, launcher)
        with run.stats.serve(name, count or 1):
            return await command
    except asyncio.CancelledError:
        command.cancel()
        await asyncio.gather(command, return_exceptions=True)
        raise


def update_board(stats: RunStats, name: str, launcher: JobLauncher) -> None:
    """Update a waiting model's entry on the board with the state of its job."""
    if (job := launcher.queue.jobs.get(name)) and name in stats.waiting:
        kind, before = stats.waiting[name]
        if before != job.text:
            stats.waiting[name], stats.changed = (kind, job.text), True


def under_way(launcher: JobLauncher | None) -> dict[str, str]:
    """Return a description of each model's job, for the jobs that are not over."""
    if not launcher:
        return {}
    over = (*launcher.config.ended, UNKNOWN)
    jobs = sorted(launcher.queue.jobs.items())
    return {name: job.full_text for name, job in jobs if job.state not in over}

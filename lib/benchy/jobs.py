"""One model as a job of a launcher: started, watched in the queue, repeated where that helps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchy import nodes, paths, tally
from benchy.errors import Died, say

if TYPE_CHECKING:
    from benchy.dispatch import Dispatcher
    from benchy.launcher import Launcher


async def launched(run: Dispatcher, name: str, launcher: Launcher) -> None:
    """A model's results by a launcher. They count by their files alone, never by a status."""
    spec, facts = run.specs[name], run.models[name]
    environments = [facts["environment"], *facts["harnesses"]]
    if launcher.scratch(spec):
        await packed(run, environments)
    for tries in range(launcher.says.retries + 1):
        stale = await run.stale(name)
        if not stale:
            run.failed.discard(name)
            return
        if tries:
            say("AGAIN", f"{name}: for {len(stale)} tasks; what was answered is kept")
        argv = launcher.command(name, spec, run.ask.serving(name, stale))
        given = launcher.environ(name, spec, environments)
        job = asyncio.ensure_future(run.command(argv, given))
        try:
            with run.tally.wait(name, tally.DEVICE, f"a place ({launcher.name})"):
                while not job.done() and not launcher.running(name):
                    await asyncio.wait(
                        [job, asyncio.ensure_future(launcher.looked.wait())],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    tell(run, name, launcher)
            with run.tally.serve(name, int(spec.get("gpus") or 0) or 1):
                status = await job
        except asyncio.CancelledError:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
            raise
        finally:
            nodes.forget(given)
        if not await run.stale(name):
            return  # whatever the status: one whose node has gone may end with 0, too
        run.failed.add(name)
        ended = await launcher.ended(name)
        launcher.forget(name)
        # Of several nodes the one that fails first has the others ended, whose status is higher.
        others = bool(spec.get("nodes")) and status > 128 and (not ended or ended.state == "FAILED")
        again = bool(ended and ended.state in launcher.says.again)
        repeat = status == Died.STATUS or again or others
        if ended and ended.state not in ("FAILED", "COMPLETED"):
            where = f" on {ended.node}" if ended.node else ""
            run.tally.reasons[name] = (f"its {ended.words}{where}", "")
            say("JOB", f"{name}: {ended.words}{where}")
        if not repeat:
            return
        run.failed.discard(name)
        run.tally.reasons.pop(name, None)
    run.failed.add(name)
    what = f"{name} was tried {launcher.says.retries + 1} times"
    run.tally.reasons[name] = (what, str(paths.LOGS / "serve" / f"{name}.log"))


async def packed(run: Dispatcher, environments: Sequence[str]) -> None:
    """Archives of environments, each once in a run. One that can't be had is told, and no end."""
    for env in environments:
        target = f"pack/{env}"
        if target not in run.once:
            run.once[target] = asyncio.ensure_future(run.command(["bin/venv", "pack", env]))
        await asyncio.shield(run.once[target])


def tell(run: Dispatcher, name: str, launcher: Launcher) -> None:
    """On the board: what the queue says of a model's job."""
    if (found := launcher.jobs.get(name)) and name in run.tally.waiting:
        kind, before = run.tally.waiting[name]
        if before != found.words:
            run.tally.waiting[name], run.tally.changed = (kind, found.words), True


def shared(specs: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """What a build asks a launcher for: what all models do."""
    asked: list[Mapping[str, Any]] = [s.get("resources") or {} for s in specs.values()]
    return {k: v for k, v in asked[0].items() if all(a.get(k) == v for a in asked)}

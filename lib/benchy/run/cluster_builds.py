"""Builds locks and environments as jobs of a launcher."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

from benchy.cluster import shared_files
from benchy.core import paths
from benchy.core.specs import ResourceRequest, ServerSpec
from benchy.display.messages import say
from benchy.environments import health
from benchy.run.job_ends import ending, wait_for_room

if TYPE_CHECKING:
    from benchy.run.commands import Commands
    from benchy.run.settings import RunSettings

# Resources that builds request if all models agree on them: SHARED, or ANYWHERE if builds have a
# partition of their own. Builds never request the memory or GPUs of models.
SHARED = ("partition", "account", "qos", "time", "cpus", "constraint", "extra")
ANYWHERE = ("account", "cpus")


class Builds(Protocol):
    """The members of EnvironmentBuilds that are used here."""

    @property
    def settings(self) -> RunSettings: ...
    @property
    def commands(self) -> Commands: ...
    @property
    def job_ends(self) -> dict[str, str]: ...


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
    for number in range(launcher.config.retries + 1):
        if end:
            await wait_for_room(launcher, end, number)
            say("AGAIN", target)
        status = await builds.commands.run(words)
        patience = 0.0 if status else shared_files.PATIENCE
        complete = functools.partial(done.complete, status)
        if await shared_files.awaited(done.files, complete, patience):
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

    def complete(self, status: int) -> bool:
        """Return whether the target is done. A new failure marker counts for an environment:
        another environment then serves instead. status: exit status of the build."""
        if self.is_lock or status:
            return status == 0 and self.files[0].exists()
        return health.intact(self.env) or shared_files.changed(self.marker_before)


def build_resources(
    specs: Mapping[str, ServerSpec], configured: ResourceRequest
) -> ResourceRequest:
    """Return the resources that builds request: those on which all models agree, overridden by
    `configured`, the resources that config.yaml sets for builds."""
    requests: list[Mapping[str, object]] = [spec.get("resources", {}) for spec in specs.values()]
    keys = ANYWHERE if "partition" in configured else SHARED
    first = requests[0] if requests else {}
    same = {
        key: first[key]
        for key in keys
        if key in first and all(request.get(key) == first[key] for request in requests)
    }
    return cast("ResourceRequest", {**same, **configured})

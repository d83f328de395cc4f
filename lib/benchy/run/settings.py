"""The settings of a run, which do not change while it lasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchy.core.specs import ResourceRequest, ServerSpec
from benchy.devices.allocation import DeviceNeed
from benchy.run.make_queries import MakeQueries

if TYPE_CHECKING:  # imports the schema and Jinja, which takes 0.1 s
    from benchy.cluster.launcher import JobLauncher


@dataclass(frozen=True)
class RunSettings:
    """The settings of one run.

    Attributes:
        make: Queries to Make.
        needs: The devices that each model needs.
        jobs: The limit of -j, None for no limit.
        environ: The environment variables of commands.
        stale_targets: The lock files and stamps of environments that Make would build.
        fetch_only: Whether to stop before the lease.
        launcher: Runs the servers, None for this machine.
        specs: The specs of the servers that the launcher runs.
        build_resources: What builds request from the launcher, None to build on this machine.
    """

    make: MakeQueries
    needs: Mapping[str, DeviceNeed]
    jobs: int | None
    environ: Mapping[str, str]
    stale_targets: frozenset[str] = frozenset()
    fetch_only: bool = False
    launcher: JobLauncher | None = None
    specs: Mapping[str, ServerSpec] = field(default_factory=dict)
    build_resources: ResourceRequest | None = None

    @property
    def at_once(self) -> int:
        """The limit of -j as a number."""
        return self.jobs or 1 << 30

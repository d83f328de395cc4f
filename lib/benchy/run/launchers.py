"""Where a run's servers and builds run: on this machine, or with a launcher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchy.core import knob_table
from benchy.core.errors import UsageError
from benchy.core.specs import PlanIndex, ResourceRequest, ServerSpec
from benchy.plan.make import alone

if TYPE_CHECKING:
    from benchy.cluster.launcher import JobLauncher


def launcher_of(plan: PlanIndex | None) -> str:
    """Return the launcher's name from LAUNCHER, else from config.yaml; "" for this machine."""
    name = os.environ.get("LAUNCHER") or (plan["launcher"] if plan else "local")
    return "" if name == "local" else name


def launcher_for(plan: PlanIndex, specs: Mapping[str, ServerSpec]) -> JobLauncher | None:
    """Return the launcher of these servers, ready for use; None for this machine.

    Raises UsageError, Failure, ConfigError.
    """
    if not (name := launcher_of(plan)):
        return None
    from benchy.cluster import launcher, multi_node  # noqa: PLC0415 - imports the schema

    started = launcher.begun(name)
    multi_node.refuse(specs.values(), name, bool(started.config.rank))
    return started


def build_resources(
    plan: PlanIndex, launcher: JobLauncher | None, specs: Mapping[str, ServerSpec]
) -> ResourceRequest | None:
    """Return the resources that builds request from the launcher if BUILD_ON=slurm, which means any
    launcher; None to build here. Raises UsageError for a wrong BUILD_ON."""
    where = os.environ.get("BUILD_ON") or "login"
    knob_table.KNOBS["BUILD_ON"].check("BUILD_ON", where)
    if where == "login":
        return None
    if not launcher:
        hint = "write LAUNCHER=slurm with it, or BUILD_ON=login"
        raise UsageError(f"BUILD_ON={where} needs a launcher", hint)
    from benchy.run import cluster_builds  # noqa: PLC0415 - as in launcher_for()

    return cluster_builds.build_resources(specs, plan["build"])


def launch_variables(launcher: JobLauncher | None) -> dict[str, str]:
    """Return the environment variables of a run's commands."""
    return launcher.without_job_variables(alone()) if launcher else alone()

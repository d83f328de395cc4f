"""The first two stages of a model: its locks, then its environments.

A failed lock or build can change the plan: another environment then serves instead (a fallback). A
build that succeeds after a failure ends the fallback. So the plan is updated after each stage in
which something may have changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchy.core import paths
from benchy.core.errors import Failure, FailureKind
from benchy.core.specs import ModelEntry
from benchy.display.messages import say
from benchy.environments import health
from benchy.environments.failures import failure_of
from benchy.run.current_plan import CurrentPlan
from benchy.run.environment_builds import EnvironmentBuilds
from benchy.run.exits import Exit


@dataclass
class Outlook:
    """What there is to do about the environments of one model.

    Attributes:
        missing: Whether an environment was missing when the model's turn came.
        retry: Whether a fallback served last time; the requested environment is tried again.
        stale_locks: Its locks to resolve.
        broken_locks: Those that could not be resolved, once that is known.
    """

    missing: bool
    retry: bool
    stale_locks: tuple[str, ...]
    broken_locks: set[str] = field(default_factory=set)

    @property
    def may_change_results(self) -> bool:
        """Whether the results that are stale may differ from those at the start of the run."""
        return self.missing or self.retry or bool(self.stale_locks)


class EnvironmentStages:
    """Brings the environments of models up to date.

    Attributes:
        plan: The current plan.
        builds: Builds locks and environments.
    """

    def __init__(self, plan: CurrentPlan, builds: EnvironmentBuilds) -> None:
        self.plan, self.builds = plan, builds
        self.settings = builds.settings

    def outlook(self, model: str) -> Outlook:
        """Return what there is to do for a model under the current plan."""
        locks = [str(paths.lock(env)) for env in self.plan.environments(model)]
        return Outlook(
            missing=bool(self.plan.missing(model)),
            retry=bool(self.plan.models[model]["fallback"]),
            stale_locks=tuple(lock for lock in locks if lock in self.settings.stale_targets),
        )

    async def resolve_locks(self, model: str, outlook: Outlook) -> Exit | None:
        """Resolve the stale locks of a model. End if none of them has changed."""
        if not outlook.stale_locks:
            return None
        for lock in outlook.stale_locks:
            if await self.builds.build(lock, model):
                outlook.broken_locks.add(lock)
        await self.plan.update()
        if outlook.retry or outlook.broken_locks or await self.plan.stale(model):
            return None
        return Exit.SAME_LOCK

    async def build(self, model: str, outlook: Outlook) -> Exit | None:
        """Build the environments of a model: those that it requests, then those that serve instead
        of a failed one. End if no result is stale with them. Raise Failure if one is missing."""
        facts = self.plan.models[model]
        for env in dict.fromkeys([facts["asked"], *facts["harnesses"]]):
            if self._to_build(env, outlook):
                await self.builds.build(f"environment/{env}", model)
        if outlook.missing or outlook.retry:
            await self.plan.update()
        requested = self.plan.models[model]["asked"]
        for env in self.plan.environments(model):
            tried = env == requested or str(paths.lock(env)) in outlook.broken_locks
            if not tried and not health.intact(env):
                await self.builds.build(f"environment/{env}", model)
        facts = self.plan.models[model]
        for env in (facts["environment"], *facts["harnesses"]):
            if not health.intact(env):
                raise unbuilt(model, env, self.builds.job_ends.get(env, ""))
        maybe_current = (outlook.retry or outlook.stale_locks) and not self.settings.fetch_only
        if maybe_current and not await self.plan.stale(model):
            return Exit.NOTHING_STALE
        report_fallback(model, facts)
        return None

    def _to_build(self, env: str, outlook: Outlook) -> bool:
        """Return whether Make has to look at an environment that the model requests."""
        if str(paths.lock(env)) in outlook.broken_locks:
            return False
        current = str(paths.stamp(env)) not in self.settings.stale_targets and health.intact(env)
        return not current or bool(outlook.stale_locks)


def report_fallback(model: str, facts: ModelEntry) -> None:
    """Print which environment serves a model instead of the requested one, if another does."""
    if facts["fallback"]:
        say("FALLBACK", f"{model}: {facts['environment']} serves instead of {facts['asked']}")


def unbuilt(model: str, env: str, job_end: str = "") -> Failure:
    """Return the error of a model whose environment could not be built. job_end: how its job on a
    cluster ended, "" for none."""
    marker = failure_of(env)
    if marker.get("kind") == FailureKind.NO_SUCH_RELEASE:
        hint = "fix the configuration and run it again; another release never serves instead"
        return Failure(f"{model}: {marker.get('what', '')}", hint, marker.get("log", ""), page=31)
    return Failure(
        f"{model}: environment {env} could not be built" + (f": its {job_end}" if job_end else ""),
        f"fix the cause and run it again; bin/venv info {env} shows more",
        paths.LOGS / "venv" / f"{env}.log",
    )

"""A plan: what would be built, as specs."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchy.core import specs
from benchy.core.errors import UsageError
from benchy.core.hashing import digest
from benchy.plan.task_files import TaskFolder


@dataclass
class Plan:
    """What would be built. Keys are the names under which the spec files are kept.

    Attributes:
        neutral: model → options that cannot change an answer.
        sources: model → environment → the place that requests it.
        rules: model → its rules, once they are made.
        build: what builds request from a launcher.
        digests: task → hash of its spec, once computed.
    """

    environments: dict[str, specs.EnvironmentRequest] = field(default_factory=dict)
    servers: dict[str, specs.ServerSpec] = field(default_factory=dict)
    tasks: dict[str, specs.PlannedTask] = field(default_factory=dict)
    results: dict[tuple[str, str], specs.ResultSpec] = field(default_factory=dict)
    models: dict[str, specs.ModelEntry] = field(default_factory=dict)
    neutral: dict[str, set[str]] = field(default_factory=dict)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    launcher: str = "local"
    build: specs.ResourceRequest = field(default_factory=specs.ResourceRequest)
    inputs: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    task_folders: dict[str, TaskFolder] = field(default_factory=dict)

    def meant(self, task: str) -> str:
        """Return a hash of a task's whole spec."""
        if task not in self.digests:
            self.digests[task] = digest(self.tasks[task])
        return self.digests[task]

    def add(self, spec: specs.EnvironmentRequest) -> None:
        """Add an environment.

        Raise UsageError if its name belongs to another set of packages already: a last safeguard.
        """
        existing = self.environments.setdefault(spec["env"], spec)
        if any(spec.get(key) != existing.get(key) for key in {*spec, *existing} - _places(spec)):
            raise UsageError(
                f"{existing['source']} and {spec['source']} request different sets of packages, "
                f"but both would be venvs/{spec['env']}",
                "rename one of the engines' files",
            )


def _places(spec: specs.EnvironmentRequest) -> set[str]:
    """Return the keys of an environment's spec that only say who requests it and where it is.

    The name of an environment from a local wheel or checkout identifies what it was installed from.
    """
    return {"source", "requirements", "checkout"} if spec.get("checkout") else {"source"}

"""A plan: what would be built, as specs by the names that their files are kept under."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchy.core.errors import UsageError
from benchy.core.hashing import digest
from benchy.plan.task_files import Folder

Spec = dict[str, Any]


@dataclass
class Plan:
    """What would be built. Keys are the names that the spec files are kept under."""

    environments: dict[str, Spec] = field(default_factory=dict)
    servers: dict[str, Spec] = field(default_factory=dict)
    tasks: dict[str, Spec] = field(default_factory=dict)
    results: dict[tuple[str, str], Spec] = field(default_factory=dict)
    models: dict[str, Spec] = field(default_factory=dict)
    neutral: dict[str, set[str]] = field(default_factory=dict)  # model → options that say nothing
    sources: dict[str, dict[str, str]] = field(default_factory=dict)  # model → environment → where
    rules: dict[str, str] = field(default_factory=dict)  # model → its rules, once they are made
    limit: int | None = None
    launcher: str = "local"
    build: Spec = field(default_factory=dict)  # what builds ask a launcher for
    inputs: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    task_folders: dict[str, Folder] = field(default_factory=dict)

    def meant(self, task: str) -> str:
        """A hash of all that a task comes to."""
        if task not in self.digests:
            self.digests[task] = digest(self.tasks[task])
        return self.digests[task]

    def add(self, spec: Spec) -> None:
        """Take an environment; the last guard against two sets of packages in one directory."""
        there = self.environments.setdefault(spec["env"], spec)
        if any(spec.get(key) != there.get(key) for key in {*spec, *there} - _places(spec)):
            raise UsageError(
                f"{there['source']} and {spec['source']} ask for two sets of packages, and both "
                f"would be venvs/{spec['env']}",
                "rename one of the engines' files",
            )


def _places(spec: Spec) -> set[str]:
    """Keys of an environment's spec that only say who asks for it and where it lies: the name of
    one that comes from a wheel of this machine says what the wheel holds."""
    return {"source", "requirements", "checkout"} if spec.get("checkout") else {"source"}

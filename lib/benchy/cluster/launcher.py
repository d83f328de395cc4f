"""Launchers run servers elsewhere: each model's server and its tasks are one job.

configs/launchers/NAME.yaml defines the commands that run, query and cancel jobs. Nothing in this
module is specific to Slurm. The jobs themselves are in job_queue.py.
"""

from __future__ import annotations

import fnmatch
import getpass
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from benchy.cluster import job_folder, multi_node
from benchy.cluster.job_queue import Queue
from benchy.cluster.jobs import own_mark
from benchy.config import launcher_schema
from benchy.config.loader import load_launcher
from benchy.core import names, paths
from benchy.core.errors import Failure, UsageError
from benchy.core.specs import JobSpec, ServerSpec
from benchy.environments import node_copies

LAUNCHED = "BENCHY_LAUNCHED"  # set in a job: the name of its launcher


@dataclass
class JobLauncher:
    """A launcher.

    Attributes:
        name: Name of its file.
        config: Content of its file.
        mark: Comment prefix of this run's jobs.
        queue: The jobs of this run.
    """

    name: str
    config: launcher_schema.Launcher
    mark: str = field(default_factory=own_mark)
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = Queue(self)

    def command(self, model: str, spec: ServerSpec | JobSpec, words: Sequence[str]) -> list[str]:
        """Return the command line that runs `words` in a job for a server spec."""
        known = self.facts(model, spec)
        extra = known["extra"] or []
        return [*self.filled(self.config.command, known), *extra, *words]

    def scratch(self, spec: ServerSpec | JobSpec) -> str:
        """Return the directory for environments on the node's own disk, or "" for none."""
        return os.environ.get("NODE_SCRATCH") or spec.get("resources", {}).get("scratch") or ""

    def environ(
        self, model: str, spec: ServerSpec | JobSpec, environments: Sequence[str] = ()
    ) -> dict[str, str]:
        """Return the variables of the command in addition to those of the run.

        `environments` are the names of the environments that the command needs.
        """
        known = self.facts(model, spec)
        given = {name: self.word(text, known) for name, text in self.config.environment.items()}
        if spec.get("nodes"):
            # Each start has its own file, so leftovers of an earlier start do not matter.
            name = f"{model}-{secrets.token_hex(4)}.json"
            given |= {multi_node.MEETING: str(paths.RUN / "nodes" / name)}
            given |= {multi_node.RANK: self.config.rank or ""}
        if where := self.scratch(spec):
            given |= {node_copies.SCRATCH: where, node_copies.NAMED: " ".join(environments)}
        if self.config.leases == "job":
            given |= {job_folder.LEASES: "1"}
        return {**given, LAUNCHED: self.name}

    def without_job_variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment without the variables of a job that this process may itself run in.

        The launcher's programs would apply them to the new job.
        """

        def named(name: str, patterns: Sequence[str]) -> bool:
            return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

        config = self.config
        return {
            name: value
            for name, value in environment.items()
            if not named(name, config.without) or named(name, config.keeping)
        }

    def facts(self, model: str, spec: ServerSpec | JobSpec) -> dict[str, Any]:
        """Return the variables for the templates of the launcher's file."""
        resources = launcher_schema.Resources(**spec.get("resources", {})).model_dump()
        gpus = spec.get("gpus") or 0
        count = spec["nodes"]["count"] if spec.get("nodes") else 1
        return {
            **resources,
            "model": model,
            "gpus": gpus,
            "nodes": count,
            "gpus_per_node": gpus // count,
            "comment": f"{self.mark}:{model}",
            "user": getpass.getuser(),
        }

    def filled(self, templates: Sequence[str], known: Mapping[str, Any]) -> list[str]:
        words = (self.word(text, known) for text in templates)
        return [word for word in words if word]

    def word(self, text: str, known: Mapping[str, Any]) -> str:
        try:
            environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - not HTML
            return environment.from_string(text).render(known)
        except jinja2.TemplateError as error:
            raise UsageError(
                f"configs/launchers/{self.name}.yaml: {text!r}: {error}",
                "docs/configuration.md lists the variables of a template",
            ) from None


def load(name: str) -> JobLauncher:
    """Load a launcher by name.

    Raises UsageError if there is none, and ConfigError if its file has errors.
    """
    folder = paths.CONFIGS / "launchers"
    path = folder / f"{name}.yaml"
    if not names.good(name) or not path.is_file():
        known = sorted(["local", *(p.stem for p in folder.glob("*.yaml"))])
        raise UsageError(f"there is no launcher {name!r}", f"known: {', '.join(known)}", "LAUNCHER")
    return JobLauncher(name, load_launcher(Path(), path))


def begun(name: str) -> JobLauncher:
    """Load a launcher for a run and cancel leftovers of earlier runs.

    Raises Failure if the launcher does not work on this machine.
    """
    launcher = load(name)
    try:
        launcher.queue.sweep()
    except Failure as failure:
        print(f"  {failure}", file=sys.stderr)
        raise Failure(
            f"the launcher {name} does not work here", "LAUNCHER=local runs on this machine"
        ) from None
    return launcher

"""Where servers run, if not here: a launcher puts each model's server and tasks into one job.

configs/launchers/NAME.yaml says how a command is run there, how jobs are asked about and called
off; nothing here knows Slurm. The jobs themselves are in jobqueue.py.
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
from benchy.cluster.job_queue import Queue, own_mark
from benchy.config import schema
from benchy.config.loader import load_launcher
from benchy.core import names, paths
from benchy.core.errors import Failure, UsageError
from benchy.environments import node_copies

LAUNCHED = "BENCHY_LAUNCHED"  # of a command that runs in a job: the launcher's name


@dataclass
class Launcher:
    """name: of its file, and what it says. mark: how the comments of this run's jobs begin. queue:
    those jobs."""

    name: str
    says: schema.Launcher
    mark: str = field(default_factory=own_mark)
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = Queue(self)

    def command(self, model: str, spec: Mapping[str, Any], words: Sequence[str]) -> list[str]:
        """What runs `words` there, for a server spec."""
        known = self.facts(model, spec)
        extra = known["extra"] or []
        return [*self.filled(self.says.command, known), *extra, *words]

    def scratch(self, spec: Mapping[str, Any]) -> str:
        """The folder on a node's own disk for environments; "" for none."""
        return os.environ.get("NODE_SCRATCH") or spec.get("resources", {}).get("scratch") or ""

    def environ(
        self, model: str, spec: Mapping[str, Any], environments: Sequence[str] = ()
    ) -> dict[str, str]:
        """Variables of the command besides the run's own. environments: those that it needs."""
        known = self.facts(model, spec)
        given = {name: self.word(text, known) for name, text in self.says.environment.items()}
        if spec.get("nodes"):
            # Each start has a file of its own: what an earlier one left says nothing.
            name = f"{model}-{secrets.token_hex(4)}.json"
            given |= {multi_node.MEETING: str(paths.RUN / "nodes" / name)}
            given |= {multi_node.RANK: self.says.rank or ""}
        if where := self.scratch(spec):
            given |= {node_copies.SCRATCH: where, node_copies.NAMED: " ".join(environments)}
        if self.says.leases == "job":
            given |= {job_folder.LEASES: "1"}
        return {**given, LAUNCHED: self.name}

    def outside(self, environment: Mapping[str, str]) -> dict[str, str]:
        """An environment without what tells of a job that this process itself may be in: the
        launcher's programs would take it for theirs."""

        def named(name: str, patterns: Sequence[str]) -> bool:
            return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

        says = self.says
        return {
            name: value
            for name, value in environment.items()
            if not named(name, says.without) or named(name, says.keeping)
        }

    def facts(self, model: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What a template knows."""
        asked = schema.Resources(**spec.get("resources", {})).model_dump()
        gpus = int(spec.get("gpus") or 0)
        count = spec["nodes"]["count"] if spec.get("nodes") else 1
        return {
            **asked,
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
            environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - words, no HTML
            return environment.from_string(text).render(known)
        except jinja2.TemplateError as error:
            raise UsageError(
                f"configs/launchers/{self.name}.yaml: {text!r}: {error}",
                "docs/configuration.md says what a template knows",
            ) from None


def load(name: str) -> Launcher:
    """A launcher by its name. Raises UsageError, ConfigError; Failure if its program is missing."""
    folder = paths.CONFIGS / "launchers"
    path = folder / f"{name}.yaml"
    if not names.good(name) or not path.is_file():
        known = sorted(["local", *(p.stem for p in folder.glob("*.yaml"))])
        raise UsageError(f"there is no launcher {name!r}", f"known: {', '.join(known)}", "LAUNCHER")
    return Launcher(name, load_launcher(Path(), path))


def begun(name: str) -> Launcher:
    """A launcher made ready for a run: leftovers of earlier runs are called off."""
    launcher = load(name)
    try:
        launcher.queue.sweep()
    except Failure as failure:
        print(f"  {failure}", file=sys.stderr)
        raise Failure(
            f"the launcher {name} does not work here", "LAUNCHER=local runs on this machine"
        ) from None
    return launcher

"""Prepares and checks everything about a server that needs no device.

Covers the server spec, the environment, the arguments and the model. Builds what is missing.

Imports little, because a process that waits for a device keeps these modules in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.config import option_files
from benchy.core import paths
from benchy.core.errors import ConfigError, Failure, Mistake, UsageError
from benchy.core.specs import ServerSpec, read_fetched, read_server
from benchy.core.text import listed
from benchy.devices import gpu
from benchy.display.messages import say
from benchy.engines import option_check, unavailable_options
from benchy.environments import health, node_copies
from benchy.process import environment_variables
from benchy.process.signals import Signals, run_quietly
from benchy.serving import tiny_model_folder

TAG = "SERVE"  # of bin/serve's messages


@dataclass(frozen=True)
class EngineEnvironment:
    """The environment of a server. `folder` is relative to the root."""

    name: str
    folder: Path

    @property
    def python(self) -> str:
        return str((self.folder / "bin/python").absolute())

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the environment, or {} if it is missing or damaged."""
        try:
            content: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content


def read_spec(model: str) -> ServerSpec:
    """Return the server spec of a model. Raises UsageError if there is none."""
    folder = paths.server_spec("x").parent
    if model != Path(model).name or not paths.server_spec(model).is_file():
        known = sorted(path.stem for path in folder.glob("*.json"))
        hint = f"known: {listed(known, 12)}" if known else "bin/plan writes their specs"
        raise UsageError(f"no model is named {model!r}", hint)
    spec = read_server(model)
    over = spec.pop("nodes", None)
    if os.environ.get("BENCHY_LAUNCHED"):
        spec["cuda_devices"] = None  # the launcher chooses the GPUs
        spec["port"] = None  # jobs on one node do not see each other's leases
        if over:
            spec["nodes"], spec["gpus"] = over, spec["gpus"] // over["count"]  # of this node
    return spec


def refuse_unfit(spec: ServerSpec) -> None:
    """Raise Failure if the server does not fit this machine. The hint lists models that do."""
    reason = gpu.fits(spec)
    if not reason:
        return
    able = []
    for path in sorted(paths.server_spec("x").parent.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            other = read_server(path.stem)
            if not gpu.fits(other):
                able.append(other["model"])
    hint = f"models that fit: {listed(able, 8)}" if able else "see configs/templates for a CPU"
    raise Failure(f"{spec['model']} {reason}", hint)


def ready_environment(
    spec: ServerSpec, signals: Signals, *, closely: bool = False
) -> EngineEnvironment:
    """Return the environment of a server. Builds it if it is missing.

    Args:
        spec: The server spec.
        signals: Signals of this command.
        closely: Also check its files for edits, and rebuild it if there are any.

    Raises:
        Failure: The environment cannot be built.
    """
    name = spec["environment"]
    environment = EngineEnvironment(name, paths.env_dir(name))
    if closely and health.intact(name):
        health.condemn(name, health.edited)
    if not health.intact(name):
        status = run_quietly(signals, "bin/venv", ["bin/venv", "create", name], os.environ)
        if status or not health.intact(name):
            raise Failure(
                f"{spec['model']}: its environment {name} could not be built",
                "fix the cause and start again; `make eval` uses a fallback after a failed build",
                paths.LOGS / "venv" / f"{name}.log",
            )
    return environment


def engine_arguments(
    spec: ServerSpec, environment: EngineEnvironment, files: FetchedFiles, *, warn: bool = False
) -> list[str]:
    """Return the options of a spec as arguments of the release in `environment`.

    With `warn`, prints a warning for each option that the release ignores. Raises ConfigError for
    options that the release does not take, and Failure if flags.json is missing or damaged.
    """
    version = spec["version"] or environment.json("check.json").get("version", "")
    flags = environment.json("flags.json")
    if not flags:
        raise Failure(
            f"{environment.folder}/flags.json is missing or damaged",
            f"rebuild the environment: rm -r {environment.folder} "
            f"&& bin/venv create {environment.name}",
        )
    release = option_check.release(spec, version, flags)
    words = option_check.arguments(spec, release)
    if warn:
        for option, what in unavailable_options.without_effect(spec["options"], release).items():
            say(
                "WARNING",
                f"{spec['model']}: {option_check.written(spec).mistake(option, what, '')}",
            )
    if not files.package and (revision := files.commit or spec["revision"]):
        words.append(f"--revision={revision}")
    if spec["trust_remote_code"] and "--trust-remote-code" not in words:
        words.append("--trust-remote-code")
    return words


@dataclass(frozen=True)
class FetchedFiles:
    """The files that bin/fetch brought for a model of the hub.

    Attributes:
        commit: Their commit on the hub; None if it is not known, or if they come from a package.
        package: Their directory, if they come from a package of the index.
    """

    commit: str | None = None
    package: str | None = None


NOT_FETCHED = FetchedFiles()


def fetched(spec: ServerSpec) -> FetchedFiles:
    """Return the files that bin/fetch brought for the name, revision and package of a spec.

    NOT_FETCHED if there are none, or if the model is a directory.
    """
    try:
        note = read_fetched(spec["model"])
    except (OSError, ValueError):
        return NOT_FETCHED
    if spec["path"] or (note["name"], note["revision"]) != (spec["name"], spec["revision"]):
        return NOT_FETCHED
    if not (package := note.get("package")):
        return FetchedFiles(note["commit"])
    usable = package == spec.get("weights") and Path(note["folder"], "config.json").is_file()
    return FetchedFiles(package=note["folder"] if usable else None)


def ready_model(spec: ServerSpec, files: FetchedFiles) -> str:
    """Return what the server loads: a directory, or a name on the hub.

    Makes the directory of the tiny model if it is missing. Raises Failure if that fails, and
    ConfigError if there is no such directory.
    """
    path = spec["path"]
    if not path:
        return files.package or spec["name"]
    tiny_model_folder.ready(spec)
    if not Path(path).is_dir():
        source = spec["source"]
        raise ConfigError(
            [Mistake(source, 0, "model.name", f"there is no directory {path}", "write its path")]
        )
    return path


@dataclass(frozen=True)
class PreparedServer:
    """Everything about a server that is known before it takes a device.

    Attributes:
        spec: Its spec.
        environment: The environment that serves.
        model: What the engine loads: a directory, or a name on the hub.
        arguments: Options of the engine.
        files: The files that bin/fetch brought.
    """

    spec: ServerSpec
    environment: EngineEnvironment
    model: str
    arguments: list[str]
    files: FetchedFiles = NOT_FETCHED

    @property
    def served(self) -> str:
        return self.spec["name"]

    def argv(self, host: str, port: int) -> list[str]:
        """Return the full command line of the engine."""
        fixed = ["--model", self.model, "--served-model-name", self.served]
        where = ["--host", host, "--port", str(port)]
        return [self.environment.python, *self.spec["command"], *fixed, *where, *self.arguments]

    def at_once(self) -> int | None:
        """Return how many requests the engine handles at once, or None if that is not known.

        Taken from the option max_num_seqs, or else from the default of the release.
        """
        option = self.spec["options"].get("max_num_seqs")
        about = self.environment.json("flags.json").get("--max-num-seqs") or {}
        number = option or about.get("default")
        return number if isinstance(number, int) and number > 0 else None

    def expected(self) -> str | None:
        """Return the release that the server has to report."""
        return self.spec["version"] or self.environment.json("check.json").get("version")


def known(model: str) -> PreparedServer:
    """Return the plan of a model without building its environment. It has no arguments."""
    spec = read_spec(model)
    environment = EngineEnvironment(spec["environment"], paths.env_dir(spec["environment"]))
    files = fetched(spec)
    return PreparedServer(
        spec, environment, spec["path"] or files.package or spec["name"], [], files
    )


def prepare(model: str, signals: Signals, *, served_here: bool = True) -> PreparedServer:
    """Prepare a server and raise every error that can be found before it takes a GPU.

    Args:
        model: Name of the model.
        signals: Signals of this command.
        served_here: Whether this process will serve the model. A login node, which has no GPU, only
            fetches.

    Raises:
        ConfigError: The configuration does not suit the release, or the model is missing.
        Failure: The environment cannot be built, or the server does not fit this machine.
    """
    spec = read_spec(model)
    if served_here:
        refuse_unfit(spec)
    environment = ready_environment(spec, signals, closely=served_here)
    if served_here:
        node_copies.bring(signals)
        environment = EngineEnvironment(environment.name, node_copies.folder(environment.name))
        theirs = [
            n for n in environment_variables.unplanned(os.environ) if n not in spec["variables"]
        ]
        if theirs:
            what = f"{', '.join(theirs)} in your shell can change its answers"
            hint = "in engine_env of its config, a change makes its results stale"
            say("NOTE", f"{model}: {what}; {hint}")
    # Another run may fetch a newer commit at any time, so this is read once.
    files = fetched(spec)
    arguments = engine_arguments(spec, environment, files, warn=served_here)
    option_files.refuse_changed(spec)
    return PreparedServer(spec, environment, ready_model(spec, files), arguments, files)

"""Prepares and checks everything about a server that needs no device.

Covers the server spec, the environment, the arguments and the model. Builds what is missing.

Imports little, because a process that waits for a device keeps these modules in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.config import option_files
from benchy.core import names, paths
from benchy.core.errors import ConfigError, Failure, Mistake, UsageError
from benchy.devices import gpu
from benchy.display.messages import say
from benchy.engines import option_check, unavailable_options
from benchy.environments import health, node_copies, usage_locks
from benchy.hub import tokens
from benchy.process import environment_variables
from benchy.process.signals import Signals, run_quietly

Spec = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The environment of a server. `folder` is relative to the root."""

    name: str
    folder: Path

    @property
    def python(self) -> str:
        return str((self.folder / "bin/python").absolute())

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the environment, or {} if it is missing or damaged."""
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found


def read_spec(model: str) -> Spec:
    """Return the server spec of a model. Raises UsageError if there is none."""
    folder = paths.server_spec("x").parent
    if model != Path(model).name or not paths.server_spec(model).is_file():
        known = sorted(path.stem for path in folder.glob("*.json"))
        hint = f"known: {', '.join(known[:12])}" if known else "bin/plan writes their specs"
        raise UsageError(f"no model is named {model!r}", hint)
    spec: Spec = json.loads(paths.server_spec(model).read_text(encoding="utf-8"))
    over = spec.pop("nodes", None)
    if os.environ.get("BENCHY_LAUNCHED"):
        spec["cuda_devices"] = None  # the launcher chooses the GPUs
        spec["port"] = None  # jobs on one node do not see each other's leases
        if over:
            spec.update(nodes=over, gpus=spec["gpus"] // over["count"])  # of this node
    return spec


def refuse_unfit(spec: Spec) -> None:
    """Raise Failure if the server does not fit this machine. The hint lists models that do."""
    reason = gpu.fits(spec)
    if not reason:
        return
    able = []
    for path in sorted(paths.server_spec("x").parent.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            other = json.loads(path.read_text(encoding="utf-8"))
            if not gpu.fits(other):
                able.append(other["model"])
    hint = f"here can run: {', '.join(able[:8])}" if able else "see configs/templates for a CPU"
    raise Failure(f"{spec['model']} {reason}", hint)


def ready_environment(spec: Spec, signals: Signals, *, closely: bool = False) -> Place:
    """Return the environment of a server. Builds it if it is missing.

    Args:
        spec: The server spec.
        signals: Signals of this command.
        closely: Also check its files for edits, and rebuild it if there are any.

    Raises:
        Failure: The environment cannot be built.
    """
    name = spec["environment"]
    place = Place(name, paths.env_dir(name))
    if closely and health.well(name) and (why := health.edited(name)):
        with usage_locks.held(name):
            health.condemn(name, why)
    if not health.well(name):
        status = run_quietly(signals, "bin/venv", ["bin/venv", "create", name], os.environ)
        if status or not health.well(name):
            raise Failure(
                f"{spec['model']}: its environment {name} could not be built",
                "fix the cause and start again; after a failed build `make eval` falls back",
                paths.LOGS / "venv" / f"{name}.log",
            )
    return place


def engine_arguments(spec: Spec, place: Place, *, tell: bool = False) -> list[str]:
    """Return the options of a spec as arguments of the release in `place`.

    With `tell`, prints a warning for each option that the release ignores. Raises ConfigError for
    options that the release does not take, and Failure if flags.json is missing or damaged.
    """
    version = spec.get("version") or place.json("check.json").get("version", "")
    flags = place.json("flags.json")
    if not flags:
        raise Failure(
            f"{place.folder}/flags.json is missing or broken",
            f"build the environment anew: rm -r {place.folder} && bin/venv create {place.name}",
        )
    release = option_check.release(spec, version, flags)
    words = option_check.arguments(spec, release)
    if tell:
        for option, what in unavailable_options.without_effect(spec["options"], release).items():
            say(
                "WARNING",
                f"{spec['model']}: {option_check.written(spec).mistake(option, what, '')}",
            )
    if revision := commit(spec) or spec.get("revision"):
        words.append(f"--revision={revision}")
    if spec.get("trust_remote_code") and "--trust-remote-code" not in words:
        words.append("--trust-remote-code")
    return words


def commit(spec: Spec) -> str | None:
    """Return the commit of the weights that bin/fetch downloaded.

    Returns None if it downloaded none for this name and revision, or if the model is a directory.
    """
    path = paths.RUN / "fetched" / f"{spec['model']}.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = told["name"] == spec["name"] and told["revision"] == spec.get("revision")
    return str(told["commit"]) if same and not spec.get("path") else None


def ready_model(spec: Spec, place: Place, signals: Signals) -> str:
    """Return what the server loads: a directory, or a name on the hub.

    Makes the directory of the tiny model if it is missing. Raises Failure if that fails, and
    ConfigError if there is no such directory.
    """
    path = spec.get("path")
    if not path:
        return str(spec["name"])
    if spec.get("make") == "tiny" and not Path(path, "config.json").exists():
        tiny = str(paths.SCRIPTS / "tiny_model.py")
        if run_quietly(
            signals,
            "tiny.py",
            [place.python, "-I", tiny, path],
            environment_variables.for_engine(os.environ),
        ):
            raise Failure(f"{spec['model']}: {path} could not be made")
    if not Path(path).is_dir():
        source = spec["source"]
        raise ConfigError(
            [Mistake(source, 0, "model.name", f"there is no directory {path}", "write its path")]
        )
    return str(path)


def environment(spec: Spec, key: str, devices: Sequence[str]) -> dict[str, str]:
    """Return the environment variables of the engine.

    Args:
        spec: The server spec.
        key: API key of the server.
        devices: Devices for CUDA_VISIBLE_DEVICES; empty on a CPU.
    """
    env = environment_variables.for_engine(os.environ)
    env.setdefault("VLLM_NO_USAGE_STATS", "1")
    if spec.get("nodes"):
        from benchy.cluster import multi_node  # noqa: PLC0415

        env.setdefault("VLLM_HOST_IP", multi_node.own_address())
    elif loopback_host(spec):
        # The engine's processes connect over this address. Unset, they listen on the network.
        env.setdefault("VLLM_HOST_IP", "127.0.0.1")
    if spec.get("hf_cache"):
        env["HF_HUB_CACHE"] = str(paths.home(spec["hf_cache"]).absolute())
    for name, value in (spec.get("caps") or {}).items():
        env.setdefault(name, str(value))
    env.update({name: str(value) for name, value in (spec.get("variables") or {}).items()})
    if spec["device"] == "gpu":
        # Indices in nvidia-smi's order: vLLM before 0.9 cannot read UUIDs here.
        env.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=",".join(devices))
    if hub := tokens.of(spec):
        env["HF_TOKEN"] = hub
    env["VLLM_API_KEY"] = key
    return env


def loopback_host(spec: Spec) -> bool:
    """Return whether the server listens only on this machine."""
    from benchy.serving import endpoint  # noqa: PLC0415

    return endpoint.loopback(spec["host"])


def noted(env: Mapping[str, str], spec: Spec) -> dict[str, str]:
    """Return the variables to record in server.json, without secrets.

    These are the variables that the config sets, and those that `environment_variables.noted`
    selects.
    """
    own = set(spec.get("variables") or {})
    return {
        name: value
        for name, value in sorted(env.items())
        if (name in own or environment_variables.noted(name)) and not names.secret(name)
    }


@dataclass(frozen=True)
class Plan:
    """Everything about a server that is known before it takes a device."""

    spec: Spec
    place: Place
    model: str
    arguments: list[str]

    @property
    def served(self) -> str:
        return str(self.spec["name"])

    def argv(self, host: str, port: int) -> list[str]:
        """Return the full command line of the engine."""
        fixed = ["--model", self.model, "--served-model-name", self.served]
        where = ["--host", host, "--port", str(port)]
        return [self.place.python, *self.spec["command"], *fixed, *where, *self.arguments]

    def at_once(self) -> int | None:
        """Return how many requests the engine handles at once, or None if that is not known.

        Taken from the option max_num_seqs, or else from the default of the release.
        """
        asked = self.spec["options"].get("max_num_seqs")
        about = self.place.json("flags.json").get("--max-num-seqs") or {}
        found = asked or about.get("default")
        return found if isinstance(found, int) and found > 0 else None

    def expected(self) -> str | None:
        """Return the release that the server has to report."""
        return self.spec.get("version") or self.place.json("check.json").get("version")


def known(model: str) -> Plan:
    """Return the plan of a model without building its environment. It has no arguments."""
    spec = read_spec(model)
    place = Place(spec["environment"], paths.env_dir(spec["environment"]))
    return Plan(spec, place, str(spec.get("path") or spec["name"]), [])


def prepare(model: str, signals: Signals, *, served_here: bool = True) -> Plan:
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
    place = ready_environment(spec, signals, closely=served_here)
    if served_here:
        node_copies.bring(signals)
        place = Place(place.name, node_copies.folder(place.name))
        theirs = [
            n
            for n in environment_variables.unplanned(os.environ)
            if n not in (spec["variables"] or {})
        ]
        if theirs:
            what = f"{', '.join(theirs)} of your shell can change its answers"
            say("NOTE", f"{model}: {what}; in engine_env of its config, a change makes it stale")
    arguments = engine_arguments(spec, place, tell=served_here)
    option_files.refuse_changed(spec)
    return Plan(spec, place, ready_model(spec, place, signals), arguments)

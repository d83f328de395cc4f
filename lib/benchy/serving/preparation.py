"""All of a server that can be had, and found wrong, before a device is taken: its spec, its
environment, its arguments, its model. Builds what is missing.

Imports little: a process that waits for a device holds this and no more.
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
    """The environment of a server. folder: relative to the root."""

    name: str
    folder: Path

    @property
    def python(self) -> str:
        return str((self.folder / "bin/python").absolute())

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file in it, {} if there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found


def read_spec(model: str) -> Spec:
    """The model's server spec. Raises UsageError."""
    folder = paths.server_spec("x").parent
    if model != Path(model).name or not paths.server_spec(model).is_file():
        known = sorted(path.stem for path in folder.glob("*.json"))
        hint = f"known: {', '.join(known[:12])}" if known else "bin/plan writes their specs"
        raise UsageError(f"no model is named {model!r}", hint)
    spec: Spec = json.loads(paths.server_spec(model).read_text(encoding="utf-8"))
    over = spec.pop("nodes", None)
    if os.environ.get("BENCHY_LAUNCHED"):
        spec["cuda_devices"] = None  # which GPUs, the launcher has decided
        spec["port"] = None  # two jobs may share a node, and see no lease of each other
        if over:
            spec.update(nodes=over, gpus=spec["gpus"] // over["count"])  # those of this node
    return spec


def refuse_unfit(spec: Spec) -> None:
    """Raises Failure if this machine can't run the server, naming models that it can run."""
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
    """The environment that serves spec, built if it isn't there. closely: look at its files, too.
    Raises Failure."""
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
    """The options as arguments of the release in place. tell: say which of them it does not heed.
    Raises ConfigError."""
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
        for option, what in unavailable_options.unheeded(spec["options"], release).items():
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
    """The commit of the weights that bin/fetch has made ready; None where it did not."""
    path = paths.RUN / "fetched" / f"{spec['model']}.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = told["name"] == spec["name"] and told["revision"] == spec.get("revision")
    return str(told["commit"]) if same and not spec.get("path") else None


def ready_model(spec: Spec, place: Place, signals: Signals) -> str:
    """What is served: a directory, made if it is ours to make, or a name on the hub."""
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
    """The engine's environment variables. devices: what it may use; [] for a CPU."""
    env = environment_variables.for_engine(os.environ)
    env.setdefault("VLLM_NO_USAGE_STATS", "1")
    if spec.get("nodes"):
        from benchy.cluster import multi_node  # noqa: PLC0415

        env.setdefault("VLLM_HOST_IP", multi_node.own_address())
    elif loopback_host(spec):
        # Its processes talk to each other over this address; unset, they listen on the network.
        env.setdefault("VLLM_HOST_IP", "127.0.0.1")
    if spec.get("hf_cache"):
        env["HF_HUB_CACHE"] = str(paths.home(spec["hf_cache"]).absolute())
    for name, value in (spec.get("caps") or {}).items():
        env.setdefault(name, str(value))
    env.update({name: str(value) for name, value in (spec.get("variables") or {}).items()})
    if spec["device"] == "gpu":
        # Indices as nvidia-smi counts: vLLM before 0.9 can't read UUIDs here.
        env.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=",".join(devices))
    if hub := tokens.of(spec):
        env["HF_TOKEN"] = hub
    env["VLLM_API_KEY"] = key
    return env


def loopback_host(spec: Spec) -> bool:
    """Does the server stay on this machine?"""
    from benchy.serving import endpoint  # noqa: PLC0415

    return endpoint.loopback(spec["host"])


def noted(env: Mapping[str, str], spec: Spec) -> dict[str, str]:
    """The variables that go into server.json: those set for it, and inherited ones that matter."""
    own = set(spec.get("variables") or {})
    return {
        name: value
        for name, value in sorted(env.items())
        if (name in own or environment_variables.noted(name)) and not names.secret(name)
    }


@dataclass(frozen=True)
class Plan:
    """All that is known before a device is taken."""

    spec: Spec
    place: Place
    model: str
    arguments: list[str]

    @property
    def served(self) -> str:
        return str(self.spec["name"])

    def argv(self, host: str, port: int) -> list[str]:
        """The engine's whole command line."""
        fixed = ["--model", self.model, "--served-model-name", self.served]
        where = ["--host", host, "--port", str(port)]
        return [self.place.python, *self.spec["command"], *fixed, *where, *self.arguments]

    def at_once(self) -> int | None:
        """Requests that the engine works on together, as far as the options or the release say."""
        asked = self.spec["options"].get("max_num_seqs")
        about = self.place.json("flags.json").get("--max-num-seqs") or {}
        found = asked or about.get("default")
        return found if isinstance(found, int) and found > 0 else None

    def expected(self) -> str | None:
        """The release that has to answer."""
        return self.spec.get("version") or self.place.json("check.json").get("version")


def known(model: str) -> Plan:
    """What is known of a model whose environment is there, without its arguments."""
    spec = read_spec(model)
    place = Place(spec["environment"], paths.env_dir(spec["environment"]))
    return Plan(spec, place, str(spec.get("path") or spec["name"]), [])


def prepare(model: str, signals: Signals, *, served_here: bool = True) -> Plan:
    """Everything that can be wrong before a GPU is taken. served_here: by this process; a login
    node has no GPU and fetches all the same. Raises ConfigError, Failure."""
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

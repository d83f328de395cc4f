"""bin/doctor: report what this machine lacks, with the fix for each.

Prints one line for each finding (OK, warning or error), or JSON with `--format json`. The exit
status is 1 if there is an error. Queries the package index and the hub, for at most a few seconds
each; not at all with OFFLINE=1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchy.config import loader
from benchy.core import paths, temporary_files
from benchy.core.errors import ConfigError, Failure, FailureKind
from benchy.core.text import listed
from benchy.devices import allocation, gpu, leases
from benchy.environments import (
    health,
    index_check,
    inventory,
    lock_file,
    removal,
    uv,
    uv_settings,
)
from benchy.environments.disk_space import existing
from benchy.hub import access, local_cache, tokens
from benchy.plan import planner
from benchy.run.launchers import launcher_of

OK, WARNING, ERROR = "OK", "warning", "error"
NEEDED_GB = 10  # one environment of vLLM with CUDA takes 7 to 9
CUDA = re.compile(r"nvidia-cuda-runtime(?:-cu\d+)?")


@dataclass(frozen=True)
class Finding:
    """One finding. state: OK, WARNING or ERROR. hint: the fix, "" if there is nothing to do."""

    about: str
    state: str
    what: str
    hint: str = ""


def programs() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", OK, f"Python {version}")
    try:
        yield Finding("uv", OK, output([str(uv.find()), "--version"]).strip())
        if excluded := uv_settings.excluded_from_locks(os.environ):
            what = f"kept out of locks: {', '.join(excluded)}"
            yield Finding("uv", OK, what, "set them in a config instead; see docs/locks.md")
    except ConfigError as error:
        for mistake in error.mistakes:
            yield Finding("uv", ERROR, mistake.place, mistake.hint)
    except Failure as error:
        yield Finding("uv", ERROR, error.what, error.hint)
    made = output(["make", "--version"])
    if made.startswith("GNU Make"):
        yield Finding("make", OK, made.splitlines()[0])
    else:
        yield Finding("make", ERROR, "make is not GNU Make", "install GNU Make 4.3 or newer")
    if shutil.which("git") is None:
        yield Finding(
            "git", WARNING, "git is missing: results do not record their commit", "install git"
        )


def output(command: list[str], seconds: float = 20) -> str:
    """Return a program's stdout, "" if it cannot be run within `seconds`."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free / 1e9
    if free > NEEDED_GB:
        yield Finding("disk", OK, f"{free:.0f} GB free here")
    else:
        yield Finding(
            "disk", WARNING, f"{free:.0f} GB free here; an environment takes up to {NEEDED_GB}",
            f"make prune-venvs, or {uv.word()} cache prune",
        )  # fmt: skip
    hub_cache = local_cache.hub_cache(None, os.environ)
    for owner, path in access.caches():
        room = shutil.disk_usage(existing(path)).free / 1e9
        state = OK if room > NEEDED_GB else WARNING
        hint = "" if state == OK else "free some, or set UV_CACHE_DIR or HF_HOME to a larger disk"
        yield Finding("disk", state, f"{owner} is {path}, {room:.0f} GB free there", hint)
        if path != hub_cache:  # uv's
            yield links(path)


def links(cache: Path) -> Finding:
    """Test with a hard link whether environments can share files with uv's cache."""
    place = existing(paths.VENVS)
    try:
        with tempfile.NamedTemporaryFile(dir=existing(cache), prefix="benchy-") as file:
            name = temporary_files.aside(place / "link")
            os.link(file.name, name)
            name.unlink()
    except OSError:
        return Finding(
            "disk", WARNING, "uv's cache can't be linked to from here: each environment "
            "is a full copy", "set UV_CACHE_DIR to a directory on this file system",
        )  # fmt: skip
    return Finding("disk", OK, "environments share files with uv's cache")


def cards() -> Iterator[Finding]:
    launcher = launcher_of(inventory.plan())
    leased: set[str] = set()
    foreign: dict[str, str] = {}
    try:
        if gpus := gpu.gpus():
            leased, foreign = allocation.use_of(gpus)
    except Failure as failure:
        yield Finding("gpu", ERROR, failure.what, failure.hint)
        return
    if not gpus and launcher:
        yield Finding("gpu", OK, f"no GPU here: the launcher {launcher} runs the servers")
        return
    if not gpus:
        if shutil.which("nvidia-smi"):
            what = gpu.driver_failure() or "nvidia-smi finds no GPU"
            yield Finding("gpu", ERROR, what, "run nvidia-smi")
        yield Finding("gpu", OK, "no GPU: only models of a CPU engine can run (vllm_cpu)")
        return
    for card in gpus:
        memory = f"{card.used}/{card.total} MiB used, driver {card.driver}"
        what = f"GPU {card.index} {card.name}: {memory}"
        device = f"gpu-{card.uuid}"
        if device in foreign:
            hint = "benchy waits for it; GPU_BUSY=skip ignores this GPU"
            yield Finding("gpu", WARNING, f"{what}; {foreign[device]}", hint)
        else:
            yield Finding("gpu", OK, f"{what}, {'leased' if device in leased else 'free'}")
    yield from cuda()


def cuda() -> Iterator[Finding]:
    """Compare the CUDA release of the driver with those in the environments' locks."""
    match = re.search(r"CUDA Version: *(\d+)\.(\d+)", output(["nvidia-smi"]))
    if not match:
        return
    has = (int(match[1]), int(match[2]))
    needs: dict[tuple[int, int], list[str]] = {}
    for env in inventory.users():
        for package in lock_file.packages(paths.lock(env)):
            if CUDA.fullmatch(package.name) and (v := re.match(r"(\d+)\.(\d+)", package.version)):
                needs.setdefault((int(v[1]), int(v[2])), []).append(env)
    for release, envs in sorted(needs.items()):
        text = f"CUDA {release[0]}.{release[1]} for {listed(sorted(envs), 4)}"
        if release[0] > has[0]:
            yield Finding(
                "gpu", ERROR, f"the driver supports CUDA {has[0]}.{has[1]}, not {text}",
                "update the driver, or write an older torch_backend (docs/problems.md, P07)",
            )  # fmt: skip
        else:
            minor = "" if release <= has else " (by CUDA's minor version compatibility)"
            yield Finding("gpu", OK, f"the driver supports {text}{minor}")


def held_devices() -> Iterator[Finding]:
    desk = leases.LeaseDirectory(leases.directory())
    devices = [p.name for p in desk.path.glob("*") if re.match(r"(gpu|cpu|device|port)-", p.name)]
    for device, owner in sorted(desk.holders(devices).items()) if devices else ():
        who = f"{owner.get('model', '?')} (pid {owner.get('pid', '?')}, {owner.get('root', '?')})"
        yield Finding("lease", OK, f"{device} is leased to {who} since {owner.get('since', '?')}")


def slurm() -> Iterator[Finding]:
    required = launcher_of(inventory.plan()) == "slurm"
    if shutil.which("sinfo") is None:
        if required:
            yield Finding(
                "slurm", ERROR, "the launcher is slurm, but sinfo is missing",
                "load Slurm's module, or set LAUNCHER=local",
            )  # fmt: skip
        return
    rows = output(["sinfo", "-h", "-o", "%P|%a|%D|%G|%T"]).split()
    if not rows:
        state = ERROR if required else WARNING
        yield Finding("slurm", state, "Slurm is installed but does not answer", "see sinfo")
    for row in rows:
        name, up, nodes, gres, state = [*row.split("|"), "", "", "", ""][:5]
        yield Finding("slurm", OK, f"Slurm {name}: {nodes} nodes {state}, {up}, gres {gres}")


def environments() -> Iterator[Finding]:
    needed = inventory.users()
    for env in health.built():
        if why := health.flaw(env):
            hint = f"the next run rebuilds it, as does bin/venv create {env}"
            yield Finding("environment", WARNING, f"{env} is broken: {why}", hint)
    for env in inventory.names():
        why = health.flaw(env)
        if why and not paths.stamp(env).exists():
            yield Finding("environment", WARNING, f"{env} was broken: {why}", "make venvs")
    orphans = [env for env in health.built() if needed and env not in needed and env != paths.MAIN]
    if orphans:
        yield Finding(
            "environment",
            OK,
            f"no config needs {listed(orphans, 5)}",
            "make prune-venvs removes them",
        )
    for env, failure in planner.failures().items():
        if not paths.env_spec(env).exists():
            hint = f"no config needs it: rm {paths.failed(env)}"
        elif failure.get("kind") == FailureKind.NO_SUCH_RELEASE:
            hint = f"bin/venv lock {env} names the line to fix"
        else:
            hint = f"see {failure.get('log', '')}; the next run tries it again"
        what = f"{env} could not be built: {failure.get('what', '')}"
        yield Finding("environment", WARNING, what, hint)
    if dead := [path for _, path, works in removal.unfinished() if not works]:
        yield Finding(
            "environment", OK, f"{len(dead)} unfinished builds in {removal.BUILDING}",
            "make prune-venvs removes them",
        )  # fmt: skip


def network() -> Iterator[Finding]:
    if access.network_forbidden():
        yield Finding("network", OK, "the network is not used (OFFLINE, HF_HUB_OFFLINE)")
        return
    index = index_check.index()
    if not index.version:
        yield Finding(
            "index", ERROR, f"the package index does not answer: {index.why}",
            "check the network and pip's index settings; docs/offline.md",
        )  # fmt: skip
    elif not index.dated:
        yield Finding(
            "index", WARNING, "the package index has no upload times: the date of a release is "
            "not known", "set a cutoff for each release, or use an index that has them (PEP 700)",
        )  # fmt: skip
    else:
        yield Finding("index", OK, "the package index answers, with upload times")


def configuration() -> Iterator[Finding]:
    try:
        config = loader.load(paths.ROOT)
    except ConfigError as error:
        for mistake in error.mistakes:
            yield Finding("config", ERROR, mistake.place, mistake.hint)
        return
    many = f"{len(config.models)} models, {len(config.tasks)} tasks"
    yield Finding("config", OK, f"{many}: no mistakes")
    local = {m.name for m in config.models if m.facts.make or _is_path(m.facts.name)}
    named = sorted({m.facts.name for m in config.models if m.name not in local})
    secret, where = tokens.token()
    if secret:
        yield Finding("hub", OK, f"a token for the hub is in {where}")
    if not named or access.network_forbidden():
        return
    hub_models = access.access(named)
    if hub_models[0].status is None:
        yield Finding(
            "hub", WARNING, "the hub can't be reached: models must be in its cache already",
            "check the network, a proxy or HF_ENDPOINT; docs/offline.md",
        )  # fmt: skip
        return
    for model in hub_models:
        if model.readable:
            continue
        if model.gated:
            yield Finding(
                "hub", ERROR, f"{model.name} is gated, and this token has no access"
                if secret else f"{model.name} is gated, and there is no token",
                "request access on its page; set HF_TOKEN (docs/problems.md, P10)",
            )  # fmt: skip
        else:
            yield Finding(
                "hub", ERROR, f"{model.name}: the hub answers {model.status}",
                "check model.name; a private model needs HF_TOKEN (docs/problems.md, P11)",
            )  # fmt: skip
    readable = sum(model.readable for model in hub_models)
    yield Finding("hub", OK, f"{readable} of {len(hub_models)} models on the hub can be read")


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~"))


PARTS = (programs, disk, cards, held_devices, slurm, network, configuration, environments)

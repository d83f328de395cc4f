"""List the environments that configs need and those that are built.

Reads build/plan.json (which models need which environments), build/specs/env, venvs/ and .venv.
Writes build/sizes.json, a cache of sizes: measuring a large environment takes half a second.
"""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchy.core import files, paths
from benchy.core.errors import UsageError
from benchy.core.specs import EnvironmentEntry, PlanIndex, read_plan
from benchy.environments import builder, environment_spec, failures, health, lock_file

SIZES = paths.BUILD / "sizes.json"
STATES = ("ready", "stale", "missing", "failed", "orphan", "broken")


@dataclass(frozen=True)
class Size:
    """Disk use of an environment.

    all: bytes in total. alone: bytes of files without other hard links, which removing it frees.
    """

    all: int
    alone: int


@dataclass(frozen=True)
class EnvironmentRow:
    """One environment in a list.

    asked: the requested release. found: the installed release. state: one of STATES. users: the
    models and tasks that need it. size, alone: bytes, as in Size. age: seconds since it was built.
    """

    env: str
    asked: str | None
    found: str | None
    state: str
    users: tuple[str, ...]
    size: int
    alone: int
    python: str | None
    age: float | None
    cutoff: str | None
    repairs: tuple[dict[str, str], ...]
    why: str = ""


PLAN_FIRST = "run bin/plan, which reads the configs, then run this again"


def plan() -> PlanIndex | None:
    """Return build/plan.json, or None if it does not exist or cannot be read."""
    try:
        return read_plan(paths.BUILD / "plan.json")
    except (OSError, ValueError):
        return None


def planned() -> dict[str, EnvironmentEntry]:
    """Return the environments of build/plan.json; {} without a plan."""
    index = plan()
    return index["environments"] if index else {}


def users() -> dict[str, list[str]]:
    """Return environment → the models that need it for their servers or tasks, sorted."""
    index, out = plan(), dict[str, set[str]]()
    for model, facts in index["models"].items() if index else ():
        for env in (facts["asked"], facts["environment"]):
            out.setdefault(env, set()).add(model)
        for env in facts.get("harnesses", ()):
            out.setdefault(env, set()).add(model)
    return {env: sorted(names) for env, names in out.items()}


def names() -> list[str]:
    """Return every environment that is needed, built, locked or failed, sorted."""
    built = [p.name for p in paths.VENVS.glob("*") if p.is_dir() and not p.name.startswith(".")]
    failed = [path.stem for path in paths.FAILED.glob("*.json")]
    main = [paths.MAIN] if paths.stamp(paths.MAIN).exists() else []
    return sorted({*planned(), *built, *failed, *main})


def row(env: str, needed: dict[str, list[str]], sizes: bool = True) -> EnvironmentRow:
    """Return the row of one environment.

    needed: the result of `users`; sizes: whether to measure its disk use.
    """
    entry = planned().get(env)
    stamp, folder = health.stamp(env), paths.env_dir(env)
    exists = bool(stamp) or (folder.is_dir() and env != paths.MAIN)
    failure = failures.failure_of(env)
    spec = _spec(env)
    flaw = health.flaw(env)
    if exists and entry is None and env not in needed:
        state = "orphan"
    elif failure:
        state = "failed"
    elif not exists:
        state = "missing"
    elif flaw:
        state = "broken"
    elif builder.up_to_date(env) and not _moved(env, spec):
        state = "ready"
    else:
        state = "stale"
    size = measured(env) if sizes and exists else Size(0, 0)
    return EnvironmentRow(
        env=env,
        asked=spec.version if spec else entry["version"] if entry else None,
        found=stamp.get("version"),
        state=state,
        users=tuple(needed.get(env, ())),
        size=size.all,
        alone=size.alone,
        python=stamp.get("python"),
        age=_age(env) if stamp else None,
        cutoff=lock_file.header(paths.lock(env)).get("cutoff"),
        repairs=tuple(files.read_json(paths.env_spec(env)).get("repairs", ())),
        why=failure.get("what", "") if state == "failed" else flaw,
    )


def _spec(env: str) -> environment_spec.BuildSpec | None:
    try:
        return environment_spec.BuildSpec.read(env)
    except UsageError:
        return None


def _moved(env: str, spec: environment_spec.BuildSpec | None) -> bool:
    """Return whether the spec changed since the lock was resolved."""
    return spec is not None and lock_file.header(paths.lock(env)).get("inputs") != spec.inputs


def _age(env: str) -> float:
    built = health.stamp(env).get("when")
    moment = time.strptime(str(built), "%Y-%m-%dT%H:%M:%SZ") if built else None
    return max(0.0, time.time() - calendar.timegm(moment)) if moment else 0.0


def measured(env: str) -> Size:
    """Return the disk use of an environment, from build/sizes.json if that is up to date.

    `Size.alone` also depends on the other environments and on uv's cache, because they add and
    remove hard links. So the cache key contains the modification times of all of them.
    """
    archive = uv_cache() / "archive-v0"
    moved = [archive.stat().st_mtime_ns if archive.exists() else 0]
    moved += [paths.env_dir(other).stat().st_mtime_ns for other in health.built()]
    folder = paths.env_dir(env)
    key = [folder.stat().st_ino, health.stamp(env).get("when"), *moved]
    cache = files.read_json(SIZES)
    if cache.get(env, {}).get("key") != key:
        size = measure(folder)
        cache = {name: known for name, known in cache.items() if paths.env_dir(name).is_dir()}
        cache[env] = {"key": key, "all": size.all, "alone": size.alone}
        with contextlib.suppress(OSError):  # a read-only checkout
            files.replace(SIZES, json.dumps(cache, indent=1, sort_keys=True) + "\n")
    return Size(cache[env]["all"], cache[env]["alone"])


def uv_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Return uv's cache directory (uv's documentation, "Caching").

    Querying uv would take 20 ms.
    """
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/")) / ".cache"
    return Path(environ.get("UV_CACHE_DIR") or Path(base) / "uv")


def measure(folder: Path) -> Size:
    """Measure the disk use of a folder.

    uv hard-links files from its cache, so much of an environment may take no extra space.
    """
    total = alone = 0
    pending = [os.fspath(folder)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue  # removed in the meantime
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            used = about.st_blocks * 512
            total += used
            if about.st_nlink == 1 or entry.is_dir(follow_symlinks=False):
                alone += used
    return Size(total, alone)

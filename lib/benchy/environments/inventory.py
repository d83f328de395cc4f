"""What environments there are: those that configs need, those that are built, those that are both.

Reads build/plan.json (who needs what), build/specs/env, venvs/ and .venv. Writes build/sizes.json:
measuring a large environment takes half a second, so a size is kept until something moves it.
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
from typing import Any

from benchy.core import files, paths
from benchy.core.errors import UsageError
from benchy.environments import builder, environment_spec, failures, health, lock_file

SIZES = paths.BUILD / "sizes.json"
STATES = ("ready", "stale", "missing", "failed", "orphan", "broken")


@dataclass(frozen=True)
class Size:
    """Bytes on the disk; alone: of files that no other name shares, so what removing it frees."""

    all: int
    alone: int


@dataclass(frozen=True)
class Row:
    """One environment as a list shows it. age: seconds since it was built; users: models, tasks."""

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


PLAN_FIRST = "bin/plan reads the configs and writes it down; then run this again"


def plan() -> dict[str, Any]:
    """build/plan.json, {} if nothing was planned yet."""
    try:
        found: dict[str, Any] = json.loads((paths.BUILD / "plan.json").read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        return {}


def users() -> dict[str, list[str]]:
    """Environment → the models and tasks that need it, sorted."""
    out: dict[str, set[str]] = {}
    for model, facts in plan().get("models", {}).items():
        for env in (facts["asked"], facts["environment"]):
            out.setdefault(env, set()).add(model)
        for env in facts.get("harnesses", ()):
            out.setdefault(env, set()).add(model)
    return {env: sorted(names) for env, names in out.items()}


def names() -> list[str]:
    """Every environment that is needed, built, locked or failed."""
    built = [p.name for p in paths.VENVS.glob("*") if p.is_dir() and not p.name.startswith(".")]
    failed = [path.stem for path in paths.FAILED.glob("*.json")]
    main = [paths.MAIN] if paths.stamp(paths.MAIN).exists() else []
    return sorted({*plan().get("environments", {}), *built, *failed, *main})


def row(env: str, needed: dict[str, list[str]], sizes: bool = True) -> Row:
    """All about one environment, with its sizes or without."""
    planned = plan().get("environments", {})
    said, folder = health.stamp(env), paths.env_dir(env)
    there = bool(said) or (folder.is_dir() and env != paths.MAIN)
    failure = failures.failure_of(env)
    spec = _spec(env)
    flaw = health.flaw(env)
    if there and env not in planned and env not in needed:
        state = "orphan"
    elif failure:
        state = "failed"
    elif not there:
        state = "missing"
    elif flaw:
        state = "broken"
    elif builder.whole(env) and not _moved(env, spec):
        state = "ready"
    else:
        state = "stale"
    size = measured(env) if sizes and there else Size(0, 0)
    return Row(
        env=env,
        asked=spec.version if spec else planned.get(env, {}).get("version"),
        found=said.get("version"),
        state=state,
        users=tuple(needed.get(env, ())),
        size=size.all,
        alone=size.alone,
        python=said.get("python"),
        age=_age(env) if said else None,
        cutoff=lock_file.header(paths.lock(env)).get("cutoff"),
        repairs=tuple(files.read_json(paths.env_spec(env)).get("repairs", ())),
        why=failure.get("what", "") if state == "failed" else flaw,
    )


def _spec(env: str) -> environment_spec.Spec | None:
    try:
        return environment_spec.Spec.read(env)
    except UsageError:
        return None


def _moved(env: str, spec: environment_spec.Spec | None) -> bool:
    """Whether what is asked for is no longer what was resolved."""
    return spec is not None and lock_file.header(paths.lock(env)).get("inputs") != spec.inputs


def _age(env: str) -> float:
    built = health.stamp(env).get("when")
    moment = time.strptime(str(built), "%Y-%m-%dT%H:%M:%SZ") if built else None
    return max(0.0, time.time() - calendar.timegm(moment)) if moment else 0.0


def measured(env: str) -> Size:
    """The disk use of an environment, from build/sizes.json while that holds.

    What is alone in an environment depends on the others and on uv's cache as well: names of a file
    come and go with them. So all of their ages are part of what a kept size is valid for.
    """
    archive = uv_cache() / "archive-v0"
    moved = [archive.stat().st_mtime_ns if archive.exists() else 0]
    moved += [paths.env_dir(one).stat().st_mtime_ns for one in health.built()]
    folder = paths.env_dir(env)
    key = [folder.stat().st_ino, health.stamp(env).get("when"), *moved]
    kept = files.read_json(SIZES)
    if kept.get(env, {}).get("key") != key:
        size = measure(folder)
        kept = {name: known for name, known in kept.items() if paths.env_dir(name).is_dir()}
        kept[env] = {"key": key, "all": size.all, "alone": size.alone}
        with contextlib.suppress(OSError):  # of a checkout that can only be read
            files.replace(SIZES, json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return Size(kept[env]["all"], kept[env]["alone"])


def uv_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """uv's cache directory (uv's documentation, "Caching"), without asking uv: 20 ms."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/")) / ".cache"
    return Path(environ.get("UV_CACHE_DIR") or Path(base) / "uv")


def measure(folder: Path) -> Size:
    """Disk use. uv hard-links from its cache, so much of an environment may cost nothing."""
    total = alone = 0
    left = [os.fspath(folder)]
    while left:
        try:
            entries = list(os.scandir(left.pop()))
        except OSError:
            continue  # removed meanwhile
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if entry.is_dir(follow_symlinks=False):
                left.append(entry.path)
            used = about.st_blocks * 512
            total += used
            if about.st_nlink == 1 or entry.is_dir(follow_symlinks=False):
                alone += used
    return Size(total, alone)

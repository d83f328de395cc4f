"""Resolve the spec of an environment to a lock with hashes (lock_file.py).

Reads build/specs/env/<env>.json, uv.lock and the shared lock configs/locks/<env>.lock, which is
used unchanged if it was made from the same inputs. Writes venvs/<env>.lock (only if it changed),
logs/venv/<env>.log and, when a lock is renewed, the shared lock.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchy.core import files, paths
from benchy.display.messages import say
from benchy.environments import (
    environment_spec,
    lock_file,
    resolution,
    shared_locks,
    uv,
    uv_options,
)
from benchy.environments.environment_spec import BuildSpec


def log_path(env: str) -> Path:
    return paths.LOGS / "venv" / f"{env}.log"


def lock(spec: BuildSpec, fresh: bool = False) -> bool:
    """Write venvs/<env>.lock and return whether its packages changed.

    If the inputs are the same, the lock stays and no index is queried. A shared lock of the same
    inputs takes precedence, so that a team has one set of packages. fresh: resolve again in any
    case, and renew the shared lock if there is one for this platform. Raises Failure.
    """
    path, shared = paths.lock(spec.env), paths.shared_lock(spec.env)
    text = None if fresh else shared_locks.shared_text(spec)
    if text is None:
        header, wrong = lock_file.header(path), "" if fresh else lock_file.flaw(path)
        if wrong:
            say("WARNING", f"{path} {wrong}; it is resolved again")
        elif not fresh and header.get("inputs") == spec.inputs and _same_machine(header):
            return False
        text = _export(spec) if spec.kind == "main" else _resolve(spec)
    if fresh and lock_file.header(shared).get("platform") == environment_spec.PLATFORM:
        shared_locks.share(spec, text)
    before = path.stat() if path.exists() else None
    installed = lock_file.digest(path)
    files.replace(path, text)
    if before and lock_file.digest(path) == installed:  # only the header changed
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return False
    return True


def settle(spec: BuildSpec) -> None:
    """Set the modification time of a spec to just before that of its lock.

    Make compares modification times. If a changed spec resolves to the same packages, the lock
    keeps its time, because results depend on it; so the spec must become older than the lock.
    """
    path, lock_ = paths.env_spec(spec.env), paths.lock(spec.env)
    if path.exists() and path.stat().st_mtime_ns >= lock_.stat().st_mtime_ns:
        age = lock_.stat().st_mtime_ns - 1_000_000
        os.utime(path, ns=(age, age))


def _text(spec: BuildSpec, requirements: str, header: Mapping[str, Any]) -> str:
    """Return the text of a lock. header: how it was resolved; its inputs are added."""
    inputs = {
        "requirements": list(spec.requirements),
        "overrides": list(spec.overrides),
        "constraints": list(spec.constraints),
        "inputs": spec.inputs,
        "platform": environment_spec.PLATFORM,
    }
    return lock_file.text({**inputs, **header}, requirements)


def _export(spec: BuildSpec) -> str:
    """Return the main environment's lock, exported from uv.lock without network access.

    Takes less than a second. Raises Failure.
    """
    selection = ["--frozen", "--extra", "vllm", "--no-dev", "--no-emit-project"]
    quiet = ["--no-header", "--no-annotate", "--offline", "--project", str(paths.ROOT)]
    done = uv.run(["export", *selection, *quiet], log_path(spec.env))
    if done.status:
        hint = f"{uv.word()} lock   in the project's root brings uv.lock up to date"
        raise uv.failure(done, "uv.lock cannot be exported", log_path(spec.env), hint)
    header: dict[str, Any] = {"python": None, "options": [], "cutoff": None, "hashes": True}
    return _text(spec, done.stdout, header)


def _resolve(spec: BuildSpec) -> str:
    """Return the lock for the first Python on which a spec resolves. Raises Failure."""
    resolved = resolution.resolve(spec, log_path(spec.env))
    header: dict[str, Any] = {
        "options": resolved.options,
        "cutoff": resolved.cutoff,
        "hashes": not re.search(r"^[^\s#].*[^\\]$", resolved.requirements, re.M),
        "python": resolved.python,
        "released": resolved.released,
    }
    if resolved.exceptions:
        header["exceptions"] = dict(resolved.exceptions)
    if machine := uv_options.holding(resolved.cutoff):
        header["machine_cutoff"] = machine
    return _text(spec, resolved.requirements, header)


def _same_machine(header: Mapping[str, Any]) -> bool:
    """Return whether a lock with this header fits the machine's current cutoff.

    Cutoffs are compared as written, so a relative one ("7 days") does not outdate a lock.
    """
    then, now = header.get("machine_cutoff"), uv_options.machine_cutoff()
    return then == now if then else not uv_options.holding(header.get("cutoff"))

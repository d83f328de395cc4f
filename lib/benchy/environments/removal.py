"""Remove environments and unfinished builds.

A folder is renamed into venvs/.building before it is deleted, so that an interrupted removal never
leaves half an environment under its name.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchy.core import paths
from benchy.environments import node_copies, usage_locks

BUILDING = paths.VENVS / ".building"


def unfinished() -> Iterator[tuple[str, Path, bool]]:
    """Yield (environment, folder, whether a process is building it) for each build folder."""
    for env, path in _folders():
        yield env, path, usage_locks.building(env)


def sweep(env: str | None = None) -> None:
    """Remove leftover build folders.

    With `env`, remove all of that environment: the caller holds the builder's lock, so no other
    builder of it is alive on any host. Without, do so for each environment whose lock is free.
    """
    if env is None:
        for owner in sorted({owner for owner, _ in _folders()}):
            with usage_locks.idle(owner) as idle:
                if idle:
                    sweep(owner)
        return
    for owner, path in _folders():
        if owner == env:
            shutil.rmtree(path, ignore_errors=True)


def _folders() -> Iterator[tuple[str, Path]]:
    """Yield (environment, folder) for each temporary build folder.

    Its name ends with its builder's pid, which means nothing on another host or after a reuse of
    that pid. Only the builder's lock tells whether the builder is alive.
    """
    for path in BUILDING.glob("*"):
        if match := re.fullmatch(r"(.+)-\d+(\.old)?", path.name):
            yield match[1], path


def remove(env: str) -> bool:
    """Remove a built environment and its failure marker, but not its lock.

    Waits until no process runs from it. Returns False if there was no environment.
    """
    while True:
        with usage_locks.held(env), usage_locks.unused(env) as free:
            if free:
                return take_away(env)
        usage_locks.wait_unused(env)


def take_away(env: str) -> bool:
    """Do the work of `remove`; the caller holds both usage locks of the environment."""
    paths.failed(env).unlink(missing_ok=True)
    node_copies.forget(env)
    folder = paths.env_dir(env)
    if env == paths.MAIN:
        # benchy itself runs from .venv, so only its stamp is removed. The next bootstrap removes
        # the packages that are not benchy's own.
        existed = paths.stamp(env).exists()
        paths.stamp(env).unlink(missing_ok=True)
        return existed
    if not folder.is_dir():
        return False
    BUILDING.mkdir(parents=True, exist_ok=True)
    folder.rename(BUILDING / f"{env}-{os.getpid()}.old")
    sweep(env)
    return True

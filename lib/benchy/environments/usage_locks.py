"""Lock environments: either one builder or any number of users, never both.

Reads and writes only locks (flock) in venvs/.locks. A process that resolves or builds an
environment locks ENV. One that runs from it locks ENV.use (shared); one that replaces it does so
exclusively. The kernel releases a lock when the last process with its descriptor ends. Descriptors
are close-on-exec, so the programs that run from an environment hold no lock themselves. No process
waits for users while it holds the builder's lock, because a user's own make may need that lock.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchy.core import paths
from benchy.display.messages import say


def _path(name: str) -> Path:
    return paths.VENVS / ".locks" / name


def _open(name: str) -> IO[str]:
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+")


def _lock(file: IO[str], kind: int, waiting: str) -> None:
    """Take a lock; print `waiting` once if another process holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        say("WAIT", waiting)
        fcntl.flock(file, kind)


def _lock_now(file: IO[str]) -> bool:
    """Take a lock unless another process holds it. Return whether it was taken."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(env: str) -> Iterator[None]:
    """Hold the builder's lock of an environment; waits while another process holds it."""
    with _open(env) as file:
        _lock(file, fcntl.LOCK_EX, f"{env}: another make is working on it")
        yield


@contextmanager
def used(env: str) -> Iterator[int]:
    """Prevent other processes from replacing or removing the environment.

    Yields the lock's descriptor. A guardian that inherits it keeps the lock when this process dies.
    """
    with _open(f"{env}.use") as file:
        _lock(file, fcntl.LOCK_SH, f"{env} is being built")
        yield file.fileno()


@contextmanager
def unused(env: str) -> Iterator[bool]:
    """Yield whether no process runs from the environment; if so, none can start in the block."""
    with _open(f"{env}.use") as file:
        yield _lock_now(file)


@contextmanager
def idle(env: str) -> Iterator[bool]:
    """Yield whether no process builds the environment; if so, none can start to. Never waits."""
    with _open(env) as file:
        yield _lock_now(file)


def building(env: str) -> bool:
    """Return whether a process holds the builder's lock. Never waits, and writes nothing."""
    try:
        file = _path(env).open()
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def free(env: str) -> Iterator[bool]:
    """Yield whether no process builds or runs from the environment; if so, none can start to.

    Never waits.
    """
    with _open(env) as builder, _open(f"{env}.use") as users:
        yield _lock_now(builder) and _lock_now(users)


def wait_unused(env: str) -> None:
    """Wait until no process runs from the environment. Do not call this inside `held`."""
    with _open(f"{env}.use") as file:
        _lock(file, fcntl.LOCK_EX, f"{env}: a server or a task is using it")

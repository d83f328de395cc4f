"""Who is at an environment: one builder, or any number of users, never both.

Reads and writes nothing but locks (flock) in venvs/.locks: ENV for whoever resolves or builds it,
ENV.use for whoever runs from it (shared) or replaces it (exclusive). The kernel drops a lock with
the last process that has its descriptor; all are close-on-exec, so what runs from an environment
holds none itself. Nobody waits for users while it holds a builder's lock: a user's own make may ask
for that.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from benchy.core import paths
from benchy.display.messages import say


def _open(name: str) -> IO[str]:
    path = paths.VENVS / ".locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+")


def _lock(file: IO[str], kind: int, waiting: str) -> None:
    """Take a lock; say once for what it waits, if it does."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        say("WAIT", waiting)
        fcntl.flock(file, kind)


@contextmanager
def held(env: str) -> Iterator[None]:
    """One builder per environment at a time; the second waits. A dead one holds nothing."""
    with _open(env) as file:
        _lock(file, fcntl.LOCK_EX, f"{env}: another make is at it")
        yield


@contextmanager
def used(env: str) -> Iterator[int]:
    """While inside, nobody replaces or removes the environment. Gives the descriptor that sees to
    it: a guardian that gets it as well keeps the environment past our death."""
    with _open(f"{env}.use") as file:
        _lock(file, fcntl.LOCK_SH, f"{env} is being built")
        yield file.fileno()


@contextmanager
def unused(env: str) -> Iterator[bool]:
    """True inside if nobody runs from the environment; nobody begins to before this is left."""
    with _open(f"{env}.use") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def free(env: str) -> Iterator[bool]:
    """True inside if nobody builds the environment and nobody runs from it; nobody begins to before
    this is left. Waits for nobody."""
    with _open(env) as builder, _open(f"{env}.use") as users:
        try:
            for file in (builder, users):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            nobody = True
        except BlockingIOError:
            nobody = False
        yield nobody


def wait_unused(env: str) -> None:
    """Return once nobody runs from the environment. Not to be called inside `held`."""
    with _open(f"{env}.use") as file:
        _lock(file, fcntl.LOCK_EX, f"{env}: a server or a task runs from it")

"""Let only one run of this checkout work on a model: a second one would hold devices while its
tasks wait for those of the first.

The lock is an flock on run/turn-MODEL.lock. It ends with the process that holds it, and child
processes do not inherit it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from benchy.core import paths

PAUSE = 1.0  # seconds between tries


@asynccontextmanager
async def taken(
    model: str, waiting: Callable[[], AbstractContextManager[None]]
) -> AsyncIterator[bool]:
    """Hold the model's lock; yields whether another run held it first. waiting: makes the context
    that is entered while this run waits."""
    paths.RUN.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(paths.RUN / f"turn-{model}.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as lock:
        waited = not _lock(lock.fileno())
        if waited:
            with waiting():
                while not _lock(lock.fileno()):
                    await asyncio.sleep(PAUSE)
        yield waited


def _lock(descriptor: int) -> bool:
    """Take the lock if it is free, and return whether this process holds it."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False

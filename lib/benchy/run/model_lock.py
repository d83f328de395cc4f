"""One run of this checkout at a time is at a model: a second one would hold devices while its tasks
wait for the first's to be done.

The lock (flock on run/turn-MODEL.lock) goes with the process that has it; nothing that it starts
inherits it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from benchy.core import paths

PAUSE = 1.0  # seconds between two tries


@asynccontextmanager
async def taken(
    model: str, waiting: Callable[[], AbstractContextManager[None]]
) -> AsyncIterator[bool]:
    """While inside, the model is this run's; gives whether another run was at it just before.
    waiting: what is entered while that one is."""
    paths.RUN.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(paths.RUN / f"turn-{model}.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as lock:
        waited = not had(lock.fileno())
        if waited:
            with waiting():
                while not had(lock.fileno()):
                    await asyncio.sleep(PAUSE)
        yield waited


def had(descriptor: int) -> bool:
    """Take the lock if nobody has it; whether it is ours."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False

"""Waits for files that another machine writes on a shared file system.

NFS caches directory contents for up to a minute (acdirmax), including that a file does not exist.
Opening a directory or a file makes it ask the server again (close-to-open consistency).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

PATIENCE = 60.0  # seconds that a file may take to appear
PAUSE = 1.0  # seconds between looks

Marks = Mapping[Path, tuple[int, int] | None]


def revalidate(path: Path) -> None:
    """Make the file system ask its server again about a file and all its parent directories."""
    for entry in (*reversed(path.parents), path):
        with contextlib.suppress(OSError):
            os.close(os.open(entry, os.O_RDONLY | os.O_NONBLOCK))


def marks(files: Iterable[Path]) -> Marks:
    """Return the inode and modification time of each file, which change when it is written anew.

    The value of a missing file is None.
    """
    stats: dict[Path, tuple[int, int] | None] = {}
    for path in files:
        stats[path] = None
        with contextlib.suppress(OSError):
            facts = path.stat()
            stats[path] = (facts.st_ino, facts.st_mtime_ns)
    return stats


def changed(before: Marks) -> bool:
    """Return whether every file exists and differs from `before`."""
    now = marks(before)
    return all(now[path] and now[path] != mark for path, mark in before.items())


async def awaited(files: Iterable[Path], ready: Callable[[], bool], seconds: float) -> bool:
    """Look at files until `ready` returns true, and return whether it did.

    Looks at least once, and for at most `seconds`.
    """
    files, end = list(files), time.monotonic() + seconds
    while True:
        for path in files:
            await asyncio.to_thread(revalidate, path)
        if ready() or time.monotonic() >= end:
            return ready()
        await asyncio.sleep(PAUSE)

"""Files that another machine has just written, on a file system that both see.

NFS keeps for up to a minute (acdirmax) what it knew of a directory, and with it that a file was not
there. Opening a directory, or a file, has it ask the server again (close-to-open consistency).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

PATIENCE = 60.0  # seconds that a file may take
PAUSE = 1.0  # seconds between two looks

Marks = Mapping[Path, tuple[int, int] | None]


def look(path: Path) -> None:
    """Have the file system ask anew for a file, and for each directory on the way to it."""
    for each in (*reversed(path.parents), path):
        with contextlib.suppress(OSError):
            os.close(os.open(each, os.O_RDONLY | os.O_NONBLOCK))


def marks(files: Iterable[Path]) -> Marks:
    """What tells of each file that it was made anew; None for one that is not there."""
    found: dict[Path, tuple[int, int] | None] = {}
    for path in files:
        found[path] = None
        with contextlib.suppress(OSError):
            facts = path.stat()
            found[path] = (facts.st_ino, facts.st_mtime_ns)
    return found


def changed(before: Marks) -> bool:
    """Is each of the files another one than it was?"""
    now = marks(before)
    return all(now[path] and now[path] != mark for path, mark in before.items())


async def awaited(files: Iterable[Path], there: Callable[[], bool], seconds: float) -> bool:
    """Look at files until they are there, at least once, and for so many seconds; whether they
    are."""
    files, end = list(files), time.monotonic() + seconds
    while True:
        for path in files:
            await asyncio.to_thread(look, path)
        if there() or time.monotonic() >= end:
            return there()
        await asyncio.sleep(PAUSE)

"""Private directories, locks on files, and files that are written only if they change."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchy.core import temporary_files


def not_older(path: Path, inputs: Iterable[Path]) -> None:
    """Make a file that was just made as young as what it was made from.

    Make compares ages, and a clock that was set back (or a file server's) gives what is made now
    an age before its inputs': it would be made again at every run until the clock has caught up.
    """
    ages = [0]
    for each in inputs:
        with contextlib.suppress(FileNotFoundError):
            ages.append(each.stat().st_mtime_ns)
    if path.stat().st_mtime_ns <= max(ages):
        os.utime(path, ns=(max(ages) + 1_000_000, max(ages) + 1_000_000))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """While inside, no other process of this user's is, on hosts whose file system knows locks."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str) -> bool:
    """Write a file if its content changes, through a rename; whether it did. What the command line
    gave (see os.fsencode) is written as the bytes that it was."""
    try:
        if path.read_text(errors="surrogateescape") == text:
            return False
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary_files.write(path, text, errors="surrogateescape")
    return True


def read_json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def replace(path: Path, text: str) -> None:
    """The whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_files.write(path, text)

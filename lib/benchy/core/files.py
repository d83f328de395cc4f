"""Timestamps and locks of files, and files that are rewritten only if they change."""

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
    """Give a newly made file a modification time later than those of its inputs.

    Make compares modification times. If the clock (or a file server's clock) was set back, a new
    file can look older than its inputs, and Make would rebuild it at every run until the clock
    catches up.
    """
    ages = [0]
    for input_path in inputs:
        with contextlib.suppress(FileNotFoundError):
            ages.append(input_path.stat().st_mtime_ns)
    if path.stat().st_mtime_ns <= max(ages):
        os.utime(path, ns=(max(ages) + 1_000_000, max(ages) + 1_000_000))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file. Other processes of this user wait.

    The lock has no effect on file systems that do not support locks.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str) -> bool:
    """Write a file in one rename if its content changes. Return whether it changed.

    Undecodable bytes from the command line (see os.fsencode) are written unchanged.
    """
    try:
        if path.read_text(errors="surrogateescape") == text:
            return False
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary_files.write(path, text, errors="surrogateescape")
    return True


def read_json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict):
            return data
    return {}


def replace(path: Path, text: str) -> None:
    """Write a file in one rename, so that a reader never sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_files.write(path, text)

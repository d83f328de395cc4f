"""Lock files of leases: opening them, testing their flocks, reading their content."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

# Sticky: systemd-tmpfiles deletes files in /tmp after ten days unused, but not sticky ones.
MODE = 0o1600


def opened(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)


def locked(path: Path) -> bool:
    """Return whether a process holds the flock on path.

    Call it under the mutex: the test takes the lock for a moment.
    """
    try:
        descriptor = opened(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def content(path: Path) -> dict[str, Any]:
    """Return the JSON of a ticket or holder; {} if it is missing or half written."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document

"""The files of leases: a directory that is one user's alone, and flocks on what lies in it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

# Sticky: systemd-tmpfiles clears /tmp of what nobody touched for ten days, but not of these.
MODE = 0o1600


def opened(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)


def locked(path: Path) -> bool:
    """Does somebody hold path's flock? Ask under the mutex: asking takes it for a moment."""
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
    """A ticket's or holder's JSON; {} where it is half written."""
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return told

"""The files of leases: a directory that is one user's alone, and flocks on what lies in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

from benchy.errors import Failure

# Sticky: systemd-tmpfiles clears /tmp of what nobody touched for ten days, but not of these.
MODE = 0o1600


def private(path: Path) -> None:
    """Make a directory with mode 0700. Raises Failure if somebody else could have put files in."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Failure(
            f"{path} is no directory of this user alone",
            "see who made it and remove it, or set BENCHY_LEASES to another directory",
        )


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


def stopped(pid: object) -> bool:
    """Does this process stand still (Ctrl-Z, SIGSTOP, a debugger)?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"T", b"t")

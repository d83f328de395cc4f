"""Facts about processes from /proc: start times, and whether they are stopped."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path


def stopped(pid: object) -> bool:
    """Return whether a process is stopped (Ctrl-Z, SIGSTOP, a debugger)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"T", b"t")


FIRST_SPACE = 0xEFFFFFFC  # inode of the initial pid namespace on every Linux


def born(pid: int) -> int | None:
    """Return when a process started, in the kernel's clock ticks.

    Returns None if there is no such process or it is a zombie.
    """
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else int(words[19])


def alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    return born(pid) is not None


def host() -> str:
    """Return the scope in which this process's pids are valid.

    This is the host's name, followed by the pid namespace unless it is the initial one. It has no
    "~", "/" or ":", since it is part of file names and of the comments of jobs.
    """
    name = re.sub("[~/:]", "-", os.uname().nodename)
    with contextlib.suppress(OSError):
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - called for every file written
        return name if space == FIRST_SPACE else f"{name}+{space:x}"
    return name


def lives(scope: str, pid: int, birth: int) -> bool | None:
    """Return whether the process that a note, a file name or a job names is still alive.

    Args:
        scope: host() of that process.
        pid: Its pid.
        birth: born() of that process, since pids are reused.

    Returns:
        None if the process is not visible here, because it belongs to another host or pid
        namespace.
    """
    return born(pid) == birth if scope == host() else None

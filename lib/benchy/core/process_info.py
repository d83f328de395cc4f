"""What the kernel says of processes: when they started, whether they stand still."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def stopped(pid: object) -> bool:
    """Does this process stand still (Ctrl-Z, SIGSTOP, a debugger)?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"T", b"t")


FIRST_SPACE = 0xEFFFFFFC  # the inode of a machine's own pid namespace, on every Linux


def born(pid: int) -> int | None:
    """When a process started, in the kernel's clock ticks; None if there is none, or a zombie."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else int(words[19])


def alive(pid: int) -> bool:
    """Is there such a process, and no zombie?"""
    return born(pid) is not None


def host() -> str:
    """Where our pids mean something: this host, and which space of pids on it."""
    name = os.uname().nodename.replace("~", "-").replace("/", "-")
    with contextlib.suppress(OSError):
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - of every file written
        return name if space == FIRST_SPACE else f"{name}+{space:x}"
    return name

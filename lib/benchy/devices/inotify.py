"""Waits for events in the directory of leases with inotify, so that waiting takes no CPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import time
from pathlib import Path

IN_CLOSE_WRITE, IN_DELETE = 0x8, 0x200  # sys/inotify.h
# The close event arrives a moment before the kernel drops the lock (fs/file_table.c, __fput).
AFTER_CLOSE = (0.02, 0.3)
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """A watch for closed or deleted files of devices and of earlier tickets."""

    def __init__(self, path: Path) -> None:
        self.descriptor = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        events = IN_CLOSE_WRITE | IN_DELETE
        if self.descriptor >= 0 and (
            _libc.inotify_add_watch(self.descriptor, os.fsencode(path), events) < 0
        ):
            os.close(self.descriptor)
            self.descriptor = -1
        self.wakeups: list[float] = []  # time.monotonic() at which to wake up

    def wait(self, timeout: float, mine: str) -> None:
        """Wait until timeout seconds have passed or an event concerns ticket `mine`."""
        end = time.monotonic() + timeout
        if self.descriptor < 0:  # the user has no inotify instance or watch left: poll
            time.sleep(min(timeout, 5.0))
            return
        while True:
            due = min([end, *self.wakeups])
            if select.select([self.descriptor], [], [], max(0.0, due - time.monotonic()))[0]:
                self.read_events(mine)
            elif time.monotonic() >= due:
                self.wakeups = [moment for moment in self.wakeups if moment > due]
                return

    def read_events(self, mine: str) -> bool:
        """Read the pending events. If one concerns ticket `mine`, set `wakeups` and return True."""
        with contextlib.suppress(BlockingIOError):
            if self.concerns(os.read(self.descriptor, 1 << 16), mine):
                self.wakeups = [time.monotonic() + pause for pause in AFTER_CLOSE]
                return True
        return False

    def concerns(self, events: bytes, mine: str) -> bool:
        """Return whether an event concerns a device or an earlier ticket.

        events: bytes as inotify(7) defines them, 16 bytes and a name for each event.
        """
        at = 0
        while at < len(events):
            length = int.from_bytes(events[at + 12 : at + 16], "little")
            name = events[at + 16 : at + 16 + length].rstrip(b"\0").decode(errors="replace")
            at += 16 + length
            ticket = name.startswith("ticket-")
            if name < mine if ticket else not name.startswith(("mutex", "strangers")):
                return True
        return False

    def close(self) -> None:
        """Stop watching."""
        if self.descriptor >= 0:
            os.close(self.descriptor)

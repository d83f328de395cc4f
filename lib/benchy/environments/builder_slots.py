"""Limit how many environments are built at once on this machine. Writes lease files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from benchy.core import paths
from benchy.core.errors import UsageError
from benchy.devices import leases, waiting_line
from benchy.display.messages import say

JOBS = 2  # concurrent builders if VENV_JOBS is not set


@contextlib.contextmanager
def slot(env: str) -> Iterator[None]:
    """Hold one of this machine's builder slots; waits for one.

    VENV_JOBS limits the number of slots, because builders share a disk and a network. Raises
    UsageError if it is not a positive number.
    """
    text = os.environ.get("VENV_JOBS") or str(JOBS)
    if not text.isdecimal() or not int(text):
        raise UsageError(f"VENV_JOBS={text} is not a number of builders", "write 1 or more")
    places = tuple(f"venv-{number}" for number in range(int(text)))
    owner = {"model": env, "pid": os.getpid(), "root": str(paths.ROOT)}

    def waiting(words: str) -> None:
        say("WAIT", f"{env}: VENV_JOBS={text}, and {words}")

    held = waiting_line.acquire(
        leases.LeaseDirectory(leases.directory()),
        leases.LeaseRequest(1, places, owner),
        waiting,
        lambda: None,
    )
    try:
        yield
    finally:
        held.release()

"""Unit tests start no process: tests that need one are in tests/integration."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

STARTS = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.system"}
started: list[str] | None = None  # of the test that runs now, None between tests


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in STARTS and started is not None:
        started.append(f"{event} {arguments[:2]}")


sys.addaudithook(_note)


@pytest.fixture(autouse=True)
def no_process() -> Iterator[None]:
    """Fail a test that starts a process, even if it catches the error of the start."""
    global started
    started = []
    yield
    found, started = started, None
    assert not found, f"a unit test starts no process: {found}"

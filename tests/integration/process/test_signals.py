"""Tests of signals that arrive during cleanup or in a destructor."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from benchy.core import paths

# A test fills in the code that runs. `strike()` sends the signals of the command line.
PROGRAM = """
import os, signal, sys, time
sys.path.insert(0, "lib")
from benchy.cli import entry
from benchy.process import signals

def strike():
    for number in map(int, sys.argv[1:]):
        os.kill(os.getpid(), number)
    time.sleep(0)

class Late:
    def __del__(self):
        strike()

def main(argv):
    signals.end_once()
    try:
        {body}
        time.sleep(10)
        print("went on")
    finally:
        {last}
        print("cleaned up")

sys.exit(entry.run(main, []))
"""


def run(numbers: tuple[signal.Signals, ...], body: str, last: str = "pass") -> tuple[int, str]:
    """Return the exit status, and stdout followed by stderr."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body, last=last), *map(str, map(int, numbers))],
        cwd=paths.ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("first", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_first_signal_ends_the_command_and_later_ones_are_ignored(
    first: signal.Signals, status: int
) -> None:
    assert run((first,), "strike()", last="strike(); strike()") == (status, "cleaned up\n")


@pytest.mark.parametrize(("first", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_in_a_destructor_is_not_lost(first: signal.Signals, status: int) -> None:
    assert run((first,), "Late()") == (status, "cleaned up\n")


def test_errors_of_destructors_are_shown() -> None:
    status, said = run((), "Late.__del__ = lambda self: 1 / 0; Late(); raise SystemExit(3)")
    assert status == 3 and "ZeroDivisionError" in said

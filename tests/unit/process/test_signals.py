"""Signals that come at the worst of moments."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from benchy.core import paths

# Lets a test say what runs when the signals come: `strike()` sends those of the command line.
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
    """Exit status, and all that it said."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body, last=last), *map(str, map(int, numbers))],
        cwd=paths.ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("first", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_the_first_signal_ends_it_and_later_ones_disturb_nothing(
    first: signal.Signals, status: int
) -> None:
    assert run((first,), "strike()", last="strike(); strike()") == (status, "cleaned up\n")


@pytest.mark.parametrize(("first", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_within_a_destructor_is_not_lost(first: signal.Signals, status: int) -> None:
    assert run((first,), "Late()") == (status, "cleaned up\n")


def test_other_errors_of_destructors_are_shown() -> None:
    status, said = run((), "Late.__del__ = lambda self: 1 / 0; Late(); raise SystemExit(3)")
    assert status == 3 and "ZeroDivisionError" in said

"""Prints messages, and asks before something is removed.

YES=1 counts as yes, and so does y at a terminal. Where nobody can answer, the answer is no. A YES
that is neither on nor off raises UsageError.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TextIO

from benchy.core import errors, knobs


def agreed(question: str) -> bool:
    if knobs.on("YES"):
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print(f"  {question} Nothing is removed without YES=1.", file=sys.stderr)
        return False
    print(f"  {question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def coloured(stream: TextIO) -> bool:
    """Return whether a stream is a terminal and NO_COLOR is unset (no-color.org)."""
    return not os.environ.get("NO_COLOR") and stream.isatty()


def colour(text: str, code: str, stream: TextIO | None = None) -> str:
    """Return text in an ANSI color if the stream that it is printed to shows colors.

    stream: None means stderr.
    """
    return f"\033[{code}m{text}\033[0m" if coloured(stream or sys.stderr) else text


before_talk: list[Callable[[], None]] = []  # callbacks that clear drawn lines before a message


def say(tag: str, text: str) -> None:
    """Print a message to stderr: a tag in eight columns, then the text (`  VENV    vllm_0_8`)."""
    for wipe in before_talk:
        wipe()
    print(f"  {tag:<7} {errors.printable(text)}", file=sys.stderr, flush=True)


def print_lines(*lines: str) -> None:
    """Print lines of data to stdout, each through `printable`."""
    for line in lines:
        print(errors.printable(line))

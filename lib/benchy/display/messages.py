"""Asks a person before something is removed. YES=1 is a yes, and so is y at a terminal; where
nobody can answer, it is a no. Raises UsageError for a YES that is neither on nor off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from benchy.core import errors, knobs


def agreed(question: str) -> bool:
    if knobs.on("YES"):
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print(f"  {question} Nothing is removed without YES=1.", file=sys.stderr)
        return False
    print(f"  {question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def colour(text: str, code: str) -> str:
    """text in an ANSI colour, on a terminal that wants colours (NO_COLOR, see no-color.org)."""
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\033[{code}m{text}\033[0m"


before_talk: list[Callable[[], None]] = []  # who draws on the terminal takes that away first


def say(tag: str, text: str) -> None:
    """One line of talk on stderr: a tag in eight columns, then the text (`  VENV    vllm_0_8`)."""
    for wipe in before_talk:
        wipe()
    print(f"  {tag:<7} {errors.printable(text)}", file=sys.stderr, flush=True)


def tell(*lines: str) -> None:
    """Lines of data on stdout, each through `printable`."""
    for line in lines:
        print(errors.printable(line))

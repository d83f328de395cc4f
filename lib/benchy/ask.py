"""Asks a person before something is removed. YES=1 is a yes, and so is y at a terminal; where
nobody can answer, it is a no. Raises UsageError for a YES that is neither on nor off.
"""

from __future__ import annotations

import sys

from benchy import switches


def agreed(question: str) -> bool:
    if switches.on("YES"):
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print(f"  {question} Nothing is removed without YES=1.", file=sys.stderr)
        return False
    print(f"  {question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

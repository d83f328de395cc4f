"""Reads knobs from the environment.

A switch is on for 1, yes, true or on, and off for 0, no, false, off or an empty value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from benchy.core.errors import UsageError

ON = ("1", "yes", "true", "on")
OFF = ("", "0", "no", "false", "off")


def on(name: str, environ: Mapping[str, str] = os.environ, default: bool = False) -> bool:
    """Return whether a knob is on, or `default` if it is empty or absent.

    Raises UsageError for any other text.
    """
    text = environ.get(name, "").strip().lower()
    if text == "":
        return default
    if text not in ON and text not in OFF:
        raise UsageError(
            f"{environ[name]!r} is neither on nor off",
            f"write {name}=1 (or {', '.join(ON[1:])}) or {name}=0 (or {', '.join(OFF[2:])})",
            name,
        )
    return text in ON


def count(knob: str, default: int) -> int:
    """Return the value of a knob that is a number from 1 up. Raises UsageError."""
    text = os.environ.get(knob) or str(default)
    if not text.isdecimal() or not int(text):
        raise UsageError(
            f"{knob}={text} is not a whole number from 1 up", f"write {knob}=1 or more"
        )
    return int(text)


def is_limit(text: str) -> bool:
    """Return whether a text is a value of LIMIT: a number of requests per task."""
    return bool(re.fullmatch(r"[1-9][0-9]{0,8}", text))


def knob(name: str) -> list[str]:
    return os.environ.get(name, "").split()


def flags() -> str:
    """Return Make's single-letter flags of this run ("n" for make -n)."""
    first = os.environ.get("MAKEFLAGS", "").split(" ")[0]
    return "" if first.startswith("-") or "=" in first else first


def job_slots(makeflags: str) -> int | None:
    """Return the number of -j in MAKEFLAGS: 1 without -j, None for -j without a number."""
    slots: int | None = 1
    for word in makeflags.partition(" -- ")[0].split():
        if match := re.fullmatch(r"-j(\d*)", word):
            slots = int(match[1]) if match[1] else None
    return slots

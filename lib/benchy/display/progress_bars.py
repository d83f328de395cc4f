"""Separates tqdm's progress bars from the lines that follow them in a program's output.

tqdm draws a bar after a carriage return and leaves the cursor behind it, so the program's next log
message follows the bar on the same line. Formats: tqdm 4, std.py, format_meter.
"""

from __future__ import annotations

import re

_NUMBER = r"\d+(?:\.\d+)?[kMGTP]?"
_BAR = re.compile(
    r"\s*(?:\x1b\[[0-9;]*[A-Za-z])*"  # nested bars move the cursor
    r"(?:(?P<stage>[^|\[\]{}\r\n]{1,120}?):)?\s*(?:"
    rf"\d{{1,3}}%\|[^|\r\n]*\|\s*(?P<done>{_NUMBER})/(?P<all>{_NUMBER})\s*\[[^\]\r\n]*\]|"
    rf"{_NUMBER}\s?[A-Za-z]*\s\[\d\d:[\d:]+,[^\]\r\n]*\]"  # without a known total
    r")(?:\x1b\[[0-9;]*[A-Za-z])*"
)


def split(line: str) -> tuple[list[str], str]:
    """Return the bars at the start of a line and the rest of it, "" if there is no rest."""
    bars = []
    while match := _BAR.match(line):
        bars.append(match[0].strip())
        line = line[match.end() :]
    return bars, line if line.strip() else ""


def place(bar: str) -> tuple[str, int, int] | None:
    """Return (stage, done, total) of a bar.

    Returns None for any other text, and for a bar that counts in thousands.
    """
    match = _BAR.match(bar)
    if not match or not (match["done"] or "").isdecimal() or not match["all"].isdecimal():
        return None
    return (match["stage"] or "at work").strip(), int(match["done"]), int(match["all"])

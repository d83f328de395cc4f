"""Shortens text for messages."""

from __future__ import annotations

from collections.abc import Sequence


def shorten(text: str, most: int) -> str:
    """Return a text of at most so many characters; "…" at the end marks a cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def listed(words: Sequence[str], most: int = 3, separator: str = ", ") -> str:
    """Return the first words, and how many more there are: "a, b, c and 4 more"."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return separator.join(words[:most]) + more

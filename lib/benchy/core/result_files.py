"""Finds the result files of a checkout."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from benchy.core import paths

_LIMIT = re.compile(r"limit-([1-9]\d*)")


def is_limit(name: str) -> bool:
    """Return whether a folder of results/ with this name has the results of a limit, such as
    limit-10, and not those of a model."""
    return bool(_LIMIT.fullmatch(name))


def files() -> Iterable[tuple[Path, int | None]]:
    """Yield each results.json with its limit, or None for a complete result."""
    for top in paths.RESULTS.glob("*"):
        match = _LIMIT.fullmatch(top.name)
        for path in top.glob("*/*/results.json" if match else "*/results.json"):
            yield path, int(match[1]) if match else None

"""Describes changes in words: two values of a field, or the files that a result was made from.

Files are described by name and by the time of their last edit, not by digests, which nobody
compares by eye. A git checkout is described by its commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchy.core.text import shorten

MOST = 60  # characters shown of a value
LEAD = 12  # characters shown before the difference in a long text
COMMIT = re.compile(r"([0-9a-f]{40})(\+[0-9a-f]{12})?")  # hashing.content_of for a git checkout


def values(old: Any, new: Any) -> str:
    """Return `old → new` as JSON, cut to the differing part if it is long."""
    one, two = text(old), text(new)
    if len(one) > MOST or len(two) > MOST:
        if isinstance(old, list) and isinstance(new, list):
            return items(old, new)
        if isinstance(old, str) and isinstance(new, str):
            same = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
            start = max(0, same - LEAD)
            lead = "…" if start else ""
            one, two = lead + one[start:], lead + two[start:]
    return f"{shorten(one, MOST)} → {shorten(two, MOST)}"


def items(old: Sequence[Any], new: Sequence[Any]) -> str:
    """Return the differences between two long lists."""
    gone = [f"- {shorten(text(each), MOST)}" for each in old if each not in new]
    more = [f"+ {shorten(text(each), MOST)}" for each in new if each not in old]
    return ", ".join([*gone, *more]) or "the same, in another order or number"


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def plain(value: Any) -> str:
    return value if isinstance(value, str) else text(value)


def happened(old: Any, new: Any) -> str:
    """Describe a change of a file from its old and new digest, of which one may be missing."""
    return "changed" if old and new else "is there now" if new else "no longer exists"


def file(path: Path, old: Any, new: Any) -> str:
    """Describe a change of a file on this disk, with the time of its last edit."""
    return f"{path} {happened(old, new)}{edited(path) if new else ''}"


def edited(path: Path) -> str:
    try:
        when = datetime.fromtimestamp(path.stat().st_mtime)
    except OSError:
        return ""
    return f", edited {when:%Y-%m-%d %H:%M}"


def content(old: Any, new: Any) -> str:
    """Describe a change of a folder from its old and new content (hashing.content_of)."""
    before, after = (COMMIT.fullmatch(str(each or "")) for each in (old, new))
    if before and after:
        return f"{commit(before)} → {commit(after)}"
    return happened(old, new)


def commit(found: re.Match[str]) -> str:
    return f"commit {found[1][:12]}{' with edits' if found[2] else ''}"


def of_mappings(one: Mapping[str, Any], two: Mapping[str, Any]) -> tuple[str, str]:
    """Return the entries that differ between two mappings, each side as text."""
    keys = sorted(key for key in {*one, *two} if one.get(key) != two.get(key))

    def words(each: Mapping[str, Any]) -> str:
        found = ", ".join(f"{key} {plain(each[key])}" for key in keys if key in each)
        return shorten(found or "none", MOST)

    return words(one), words(two)


def of_files(one: Mapping[str, Any], two: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the files that differ between two results, given name → digest."""
    keys = sorted(key for key in {*one, *two} if one.get(key) != two.get(key))
    both = [key for key in keys if key in one and key in two]
    mine, theirs = ([*both, *(k for k in keys if k not in b)] for b in (two, one))
    changed = [f"another {key}" if key in both else key for key in theirs]
    return shorten(", ".join(mine) or "none", MOST), shorten(", ".join(changed) or "none", MOST)

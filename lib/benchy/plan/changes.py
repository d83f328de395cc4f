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
    before, after = text(old), text(new)
    if len(before) > MOST or len(after) > MOST:
        if isinstance(old, list) and isinstance(new, list):
            return items(old, new)
        if isinstance(old, str) and isinstance(new, str):
            pairs = enumerate(zip(before, after, strict=False))
            same = next((n for n, (a, b) in pairs if a != b), 0)
            start = max(0, same - LEAD)
            lead = "…" if start else ""
            before, after = lead + before[start:], lead + after[start:]
    return f"{shorten(before, MOST)} → {shorten(after, MOST)}"


def items(old: Sequence[Any], new: Sequence[Any]) -> str:
    """Return the differences between two long lists."""
    removed = [f"- {shorten(text(item), MOST)}" for item in old if item not in new]
    added = [f"+ {shorten(text(item), MOST)}" for item in new if item not in old]
    return ", ".join([*removed, *added]) or "the same, in another order or number"


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
    before, after = (COMMIT.fullmatch(str(digest or "")) for digest in (old, new))
    if before and after:
        return f"{commit(before)} → {commit(after)}"
    return happened(old, new)


def commit(match: re.Match[str]) -> str:
    return f"commit {match[1][:12]}{' with edits' if match[2] else ''}"


def of_mappings(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, str]:
    """Return the entries that differ between two mappings, each side as text."""
    keys = sorted(key for key in {*first, *second} if first.get(key) != second.get(key))

    def words(mapping: Mapping[str, Any]) -> str:
        entries = ", ".join(f"{key} {plain(mapping[key])}" for key in keys if key in mapping)
        return shorten(entries or "none", MOST)

    return words(first), words(second)


def of_files(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the files that differ between two results, given name → digest."""
    keys = sorted(key for key in {*first, *second} if first.get(key) != second.get(key))
    both = [key for key in keys if key in first and key in second]
    mine, theirs = ([*both, *(k for k in keys if k not in b)] for b in (second, first))
    changed = [f"another {key}" if key in both else key for key in theirs]
    return shorten(", ".join(mine) or "none", MOST), shorten(", ".join(changed) or "none", MOST)

"""What things are made of, as text and hashes that are the same for the same meaning."""

from __future__ import annotations

import hashlib
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """JSON that is the same for the same meaning."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):  # a wheel may be larger than what memory is left
            found.update(block)
    return found.hexdigest()


@cache
def content_of(path: Path) -> str:
    """What a directory holds, cheaply: git's word where it is a checkout; else each file's name
    and size, and the content of small ones (weights are too large to read at each plan)."""
    if (path / ".git").exists():
        git = ["git", "-C", str(path)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
        changed = subprocess.run([*git, "diff", "HEAD"], capture_output=True).stdout
        return head.strip() + ("+" + hashlib.sha256(changed).hexdigest()[:12] if changed else "")
    parts = []
    for file in sorted(path.rglob("*")):
        if file.is_file() and not {".git", "__pycache__"} & set(file.parts):
            size = file.stat().st_size
            parts.append(
                [str(file.relative_to(path)), size, sha256(file) if size < 1 << 20 else ""]
            )
    return digest(parts)

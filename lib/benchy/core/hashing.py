"""Canonical text and hashes: the same for inputs of the same meaning."""

from __future__ import annotations

import hashlib
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """Return the value as JSON with sorted keys, the same for equal values."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return of_text(canonical(value))


def of_text(text: str) -> str:
    return of_bytes(text.encode())


def of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file of any size. (hashlib.file_digest needs Python 3.11.)"""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):  # a wheel may be larger than the free memory
            hasher.update(block)
    return hasher.hexdigest()


@cache
def content_of(path: Path) -> str:
    """Return a fingerprint of a directory's content that is cheap to compute.

    For a git checkout, it is the commit and a hash of the uncommitted changes. For any other
    directory, it is a hash of each file's name and size, and of the content of files under 1 MiB:
    weights are too large to read for each plan.
    """
    if (path / ".git").exists():
        git = ["git", "-C", str(path)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
        changed = subprocess.run([*git, "diff", "HEAD"], capture_output=True).stdout
        return head.strip() + ("+" + of_bytes(changed)[:12] if changed else "")
    parts = []
    for file in sorted(path.rglob("*")):
        if file.is_file() and not {".git", "__pycache__"} & set(file.parts):
            size = file.stat().st_size
            parts.append(
                [str(file.relative_to(path)), size, sha256(file) if size < 1 << 20 else ""]
            )
    return digest(parts)

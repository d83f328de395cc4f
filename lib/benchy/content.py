"""What things are made of, as text and hashes that are the same for the same meaning."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchy import temporary


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


def not_older(path: Path, inputs: Iterable[Path]) -> None:
    """Make a file that was just made as young as what it was made from.

    Make compares ages, and a clock that was set back (or a file server's) gives what is made now
    an age before its inputs': it would be made again at every run until the clock has caught up.
    """
    ages = [0]
    for each in inputs:
        with contextlib.suppress(FileNotFoundError):
            ages.append(each.stat().st_mtime_ns)
    if path.stat().st_mtime_ns <= max(ages):
        os.utime(path, ns=(max(ages) + 1_000_000, max(ages) + 1_000_000))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """While inside, no other process of this user's is, on hosts whose file system knows locks."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str) -> bool:
    """Write a file if its content changes, through a rename; whether it did. What the command line
    gave (see os.fsencode) is written as the bytes that it was."""
    try:
        if path.read_text(errors="surrogateescape") == text:
            return False
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write(path, text, errors="surrogateescape")
    return True

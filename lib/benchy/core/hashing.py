"""Canonical text and hashes: the same for inputs of the same meaning."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

BY_PRODUCTS = {".git", "__pycache__"}


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

    For a git checkout, it is the commit and a hash of the uncommitted changes and of the untracked
    files that git does not ignore. For any other directory, and without git, it is a hash of all
    files. A file counts by its name, its size and, under 1 MiB, its content: weights are too large
    to read for each plan.
    """
    if (path / ".git").exists():
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            return _checkout(path)
    files = [file for file in sorted(path.rglob("*")) if not BY_PRODUCTS & set(file.parts)]
    return digest([_file(path, file) for file in files if file.is_file()])


def is_commit(content: str) -> bool:
    """Return whether a fingerprint by `content_of` is that of a git checkout that git can read."""
    return len(content.partition("+")[0]) == 40


def _checkout(path: Path) -> str:
    """Return the fingerprint of a git checkout. Raises CalledProcessError if git cannot read it."""

    def git(*words: str) -> bytes:
        command = ["git", "-C", str(path), *words]
        return subprocess.run(command, capture_output=True, check=True).stdout

    head = git("rev-parse", "HEAD").decode().strip()
    changed = git("diff", "HEAD")
    names = git("ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    # An installation from a checkout writes *.egg-info into it.
    untracked = [
        os.fsdecode(name)
        for name in sorted(names)
        if name and b"__pycache__/" not in name and b".egg-info/" not in name
    ]
    contents = [_file(path, path / name) for name in untracked if (path / name).is_file()]
    # git names a checkout inside of this one, but not its files.
    contents += [[name, content_of(path / name)] for name in untracked if name.endswith("/")]
    if contents:
        changed += canonical(contents).encode()
    return head + ("+" + of_bytes(changed)[:12] if changed else "")


def _file(folder: Path, file: Path) -> list[str | int]:
    size = file.stat().st_size
    return [str(file.relative_to(folder)), size, sha256(file) if size < 1 << 20 else ""]

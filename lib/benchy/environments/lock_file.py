"""A lock as a file: what it installs, what it says of itself, what differs between two of them.

A lock is a requirements file with hashes. Its first line is a comment of JSON that says what it
was resolved from and how. Nothing in it names a machine's paths, an index or a day of locking, so
it can be committed (configs/locks/<env>.lock) and be the same wherever it is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER = "# benchy: "
# `name==1.0 \`, `name @ URL`, with a marker maybe; hashes follow on lines of their own.
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)(\[[^\]]*\])?\s*(==\s*|@\s*)(?P<what>[^\s;\\]+)")
HASH_LINE = re.compile(r"\s+--hash=\w+:[0-9a-f]+(\s*\\)?")
SEAL = "seal"  # of the header: a hash of everything else
HASH = re.compile(r"--hash=(\S+)")


@dataclass(frozen=True)
class Package:
    """One line of a lock. version: a release, or the URL that it is installed from."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()

    @property
    def elsewhere(self) -> bool:
        """Whether it is installed from a URL instead of an index."""
        return "://" in self.version

    def __str__(self) -> str:
        return f"{self.name}{' @ ' if self.elsewhere else '=='}{self.version}"


def text(said: Mapping[str, object], resolved: str) -> str:
    """A lock's text. said: its header; resolved: uv's requirements, of which only the packages and
    their hashes are kept: a uv.toml of the machine can make uv print its indexes among them."""
    lines = [line.rstrip() for line in resolved.splitlines() if line.strip()]
    foreign = re.compile(r"\s*(#|-(?!-hash=))")
    kept = [line for line in lines if not foreign.match(line)]
    body = "\n".join(kept) + "\n"
    sealed = {**said, SEAL: _seal(said, body)}
    return f"{HEADER}{json.dumps(sealed, sort_keys=True)}\n{body}"


def _seal(said: Mapping[str, object], body: str) -> str:
    """Hash of a lock without its seal."""
    plain = {key: value for key, value in said.items() if key != SEAL}
    return hashlib.sha256(f"{json.dumps(plain, sort_keys=True)}\n{body}".encode()).hexdigest()


def flaw(path: Path) -> str:
    """Why a lock is not what benchy made, in words; "" where it is, or where there is none.

    Its seal finds what happens to files: edits, merges, half copies. It is no signature. Locks of
    before there were seals are held against the form alone.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        return "can't be read as text"
    first, _, body = content.partition("\n")
    said = header(path)
    if not said or not first.startswith(HEADER):
        return "has no header of benchy's"
    for number, line in enumerate(body.splitlines(), 2):
        if line.strip() and not PINNED.match(line) and not HASH_LINE.fullmatch(line):
            return f"has something else than a package on line {number}"
    if SEAL in said and said[SEAL] != _seal(said, body):
        return "was changed since benchy made it"
    return ""


def header(path: Path) -> dict[str, Any]:
    """What a lock says of itself; {} where there is no lock of ours."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines()[:5]:
            if line.startswith(HEADER):
                found = json.loads(line.removeprefix(HEADER))
                return found if isinstance(found, dict) else {}
    return {}


def digest(path: Path) -> str:
    """SHA-256 of what a lock installs, "" where there is none. Its header says how it came about:
    a repair that changes no package changes no digest."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
    lines = text.splitlines(keepends=True)
    installed = "".join(line for line in lines if not line.startswith(HEADER))
    return hashlib.sha256(installed.encode(errors="surrogateescape")).hexdigest()


def packages(path: Path) -> list[Package]:
    """What a lock installs, in its order; [] where there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found: list[Package] = []
    for line in lines:
        pinned = PINNED.match(line)
        if pinned:
            found.append(Package(pinned["name"], pinned["what"]))
        hashes = tuple(HASH.findall(line))
        if found and hashes:
            last = found[-1]
            found[-1] = Package(last.name, last.version, last.hashes + hashes)
    return found


def differences(old: list[Package], new: list[Package]) -> Iterator[str]:
    """One line for each package that was added, removed, or is another; sorted by name."""
    before, after = ({package.name: package for package in lock} for lock in (old, new))
    for name in sorted({*before, *after}):
        was, is_ = before.get(name), after.get(name)
        if was is None:
            yield f"+ {is_}"
        elif is_ is None:
            yield f"- {was}"
        elif was.version != is_.version:
            yield f"~ {name} {was.version} → {is_.version}"
        elif was.hashes != is_.hashes:
            yield f"~ {was}: other files"

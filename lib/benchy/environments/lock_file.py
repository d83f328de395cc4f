"""Format, parse, verify and compare lock files.

A lock is a requirements file with hashes. Its first line, the header, is a JSON comment that
records what it was resolved from and how. A lock names no local path, index or locking date, so
it can be committed (configs/locks/<env>.lock) and is the same wherever it is made.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import hashing

HEADER = "# benchy: "
# `name==1.0 \` or `name @ URL`, with an optional marker; hashes follow on separate lines.
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)(\[[^\]]*\])?\s*(==\s*|@\s*)(?P<what>[^\s;\\]+)")
HASH_LINE = re.compile(r"\s+--hash=\w+:[0-9a-f]+(\s*\\)?")
SEAL = "seal"  # header key: a hash of the rest of the lock
HASH = re.compile(r"--hash=(\S+)")


@dataclass(frozen=True)
class Package:
    """One package of a lock. version: a release, or the URL that it is installed from."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()

    @property
    def elsewhere(self) -> bool:
        """Whether the package is installed from a URL instead of an index."""
        return "://" in self.version

    def __str__(self) -> str:
        return f"{self.name}{' @ ' if self.elsewhere else '=='}{self.version}"


def text(fields: Mapping[str, object], resolved: str) -> str:
    """Return the text of a lock, with a seal.

    fields: its header. resolved: uv's requirements, of which only packages and hashes are kept,
    because a uv.toml of the machine can make uv print its indexes as well.
    """
    lines = [line.rstrip() for line in resolved.splitlines() if line.strip()]
    foreign = re.compile(r"\s*(#|-(?!-hash=))")
    requirements = [line for line in lines if not foreign.match(line)]
    body = "\n".join(requirements) + "\n"
    sealed = {**fields, SEAL: _seal(fields, body)}
    return f"{HEADER}{json.dumps(sealed, sort_keys=True)}\n{body}"


def _seal(fields: Mapping[str, object], body: str) -> str:
    """Return the SHA-256 of a lock without its seal."""
    plain = {key: value for key, value in fields.items() if key != SEAL}
    return hashing.of_text(f"{json.dumps(plain, sort_keys=True)}\n{body}")


def flaw(path: Path) -> str:
    """Return why a lock is not what benchy wrote; "" if it is, or if there is none.

    The seal detects accidents: edits, merges, incomplete copies. It is not a signature. Of older
    locks, which have no seal, only the format is checked.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        return "cannot be read as text"
    first, _, body = content.partition("\n")
    fields = header(path)
    if not fields or not first.startswith(HEADER):
        return "has no benchy header"
    for number, line in enumerate(body.splitlines(), 2):
        if line.strip() and not PINNED.match(line) and not HASH_LINE.fullmatch(line):
            return f"contains something other than a package on line {number}"
    if SEAL in fields and fields[SEAL] != _seal(fields, body):
        return "was changed since benchy made it"
    return ""


def header(path: Path) -> dict[str, Any]:
    """Return the header of a lock; {} if there is no lock with a header."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines()[:5]:
            if line.startswith(HEADER):
                fields = json.loads(line.removeprefix(HEADER))
                return fields if isinstance(fields, dict) else {}
    return {}


def digest(path: Path) -> str:
    """Return the SHA-256 of a lock without its header; "" if there is no lock.

    The header only records how the lock was made, so a repair that changes no package does not
    change the digest.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
    lines = text.splitlines(keepends=True)
    installed = "".join(line for line in lines if not line.startswith(HEADER))
    return hashing.of_bytes(installed.encode(errors="surrogateescape"))


def packages(path: Path) -> list[Package]:
    """Return the packages of a lock, in its order; [] if there is no lock."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    locked: list[Package] = []
    for line in lines:
        pinned = PINNED.match(line)
        if pinned:
            locked.append(Package(pinned["name"], pinned["what"]))
        hashes = tuple(HASH.findall(line))
        if locked and hashes:
            last = locked[-1]
            locked[-1] = Package(last.name, last.version, last.hashes + hashes)
    return locked


def differences(old: list[Package], new: list[Package]) -> Iterator[str]:
    """Yield one line for each package that was added, removed or changed, sorted by name."""
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
            yield f"~ {was}: different files"

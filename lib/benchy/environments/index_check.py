"""Whether the package index answers."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.environments import release_date

PROBE = "packaging"  # a package that every index has


@dataclass(frozen=True)
class Index:
    """version: the newest release of PROBE; "" if the index did not answer, and why. dated: whether
    it tells upload times."""

    version: str
    dated: bool
    why: str = ""


def log() -> Path:
    """Where uv's talk goes: nowhere in a checkout that can only be read, which is looked at all the
    same."""
    path = paths.LOGS / "doctor.log"
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    return path if os.access(there, os.W_OK) else Path(os.devnull)


def index() -> Index:
    """What uv gets from the index that it would install from."""
    ask = release_date.Asking(sys.executable, log(), ["--no-cache"])
    try:
        # First files with a time alone, as resolving does: a folder of wheels has none.
        done = ask(PROBE, *release_date.DATED_ONLY)
        if not release_date.upload_times(done.stdout):
            done = ask(PROBE)
    except Failure as error:
        return Index("", False, error.what)
    found = [line[11:-1] for line in done.stdout.splitlines() if line.startswith('version = "')]
    if not found:
        telling = done.telling()
        why = "the network can't be reached" if done.offline else (telling or ["?"])[0]
        return Index("", False, why)
    return Index(found[0], bool(release_date.upload_times(done.stdout)))

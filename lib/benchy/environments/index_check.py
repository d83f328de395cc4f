"""Check whether the package index answers. Queries the index through uv; writes only the log."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.environments import pylock, release_date

PROBE = "packaging"  # a package that every index has


@dataclass(frozen=True)
class Index:
    """The answer of the package index.

    version: the newest release of PROBE, or "" if the index did not answer. dated: whether the
    index reports upload times. why: the reason if it did not answer.
    """

    version: str
    dated: bool
    why: str = ""


def log() -> Path:
    """Return the log for uv's output: /dev/null in a read-only checkout."""
    path = paths.LOGS / "doctor.log"
    existing = next(
        candidate for candidate in (path, *path.absolute().parents) if candidate.exists()
    )
    return path if os.access(existing, os.W_OK) else Path(os.devnull)


def index() -> Index:
    """Look up PROBE, with uv, in the index that uv would install from."""
    query = release_date.IndexQuery(sys.executable, log(), ["--no-cache"])
    try:
        # As in resolving, first consider only files with an upload time. A folder of wheels
        # has none.
        done = query(PROBE, *release_date.DATED_ONLY)
        if not pylock.upload_times(done.stdout):
            done = query(PROBE)
    except Failure as error:
        return Index("", False, error.what)
    version = pylock.first_version(done.stdout)
    if version is None:
        error_lines = done.error_lines()
        why = "the network cannot be reached" if done.offline else (error_lines or ["?"])[0]
        return Index("", False, why)
    return Index(version, bool(pylock.upload_times(done.stdout)))

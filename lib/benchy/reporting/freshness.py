"""Whether the leaderboard as it lies there says what there is to say, so that a run which made
nothing does not read thousands of results to write the same pages again.

build/reported holds a hash of all that the last report was made from; while one is made, and after
one that was killed, there is none. `make report` makes it in any case.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from benchy.core import files, hashing, paths, result_files
from benchy.plan import result_status

NOTE = paths.BUILD / "reported"
FILES = ("leaderboard.json", "leaderboard.csv", "leaderboard.md", "index.html")


def signature() -> str:
    """A hash of what a report is made from: the results, which of them are stale or asked for by no
    config, what configs/ say of the leaderboard, and the code. What only benchy writes counts by
    age and size, as Make has it."""
    there = sorted((str(path), limit or 0) for path, limit in result_files.files())
    old = result_status.stale({limit or None for _, limit in there})
    code = sorted([*paths.CODE.glob("*/*.py"), *paths.CODE.glob("*/templates/*")])
    said = [paths.CONFIGS / "config.yaml", *paths.CONFIGS.glob("tasks/*.yaml")]
    asked = result_status.asked()
    facts = [
        [[path, *_age(path)] for path, _ in there],
        sorted(str(path) for path, stale in old.items() if stale),
        None if asked is None else sorted(asked),
        [[str(path), hashing.sha256(path)] for path in sorted(said) if path.is_file()],
        [[path.name, *_age(path)] for path in code],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _age(path: str | Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - of thousands
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def current() -> bool:
    """Would a report now come to what lies there?"""
    try:
        return all((paths.RESULTS / name).exists() for name in FILES) and (
            NOTE.read_text() == signature()
        )
    except OSError:
        return False


def begin() -> None:
    """A report is being made: there is no note until it is whole."""
    NOTE.unlink(missing_ok=True)


def note(made_from: str | None) -> None:
    """Note what a report was made from: the signature from before it was. None: it is to be made
    anew in any case."""
    if NOTE.parent.is_dir():
        files.write(NOTE, made_from or "anew")

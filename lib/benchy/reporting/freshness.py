"""A check whether the leaderboard on disk is up to date.

It saves a run that made nothing from reading thousands of results to write the same pages again.
build/reported holds a hash of everything that the last report was made from. The file is absent
while a report is being made and after one was killed. `make report` always makes a new report.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchy.core import files, hashing, paths, result_files
from benchy.plan import result_status

NOTE = paths.BUILD / "reported"
FILES = ("leaderboard.json", "leaderboard.csv", "leaderboard.md", "index.html")


def signature() -> str:
    """Return a hash of everything that a report is made from.

    These are the results, which of them are stale, which ones the configs request, the settings of
    the leaderboard in configs/, and the code. Results and code count by modification time and size,
    and settings by content.
    """
    results = sorted((str(path), limit or 0) for path, limit in result_files.files())
    old = result_status.stale({limit or None for _, limit in results})
    configs = [paths.CONFIGS / "config.yaml", *paths.CONFIGS.glob("tasks/*.yaml")]
    requested = result_status.requested()
    facts = [
        [[path, *_age(path)] for path, _ in results],
        sorted(str(path) for path, stale in old.items() if stale),
        None if requested is None else sorted(requested),
        [[str(path), hashing.sha256(path)] for path in sorted(configs) if path.is_file()],
        [[path.name, *_age(path)] for path in code()],
    ]
    return hashing.of_text(json.dumps(facts))


def code() -> list[Path]:
    """Return the files of benchy's code and templates, sorted."""
    files = [*paths.CODE.glob("*/*.py"), *paths.CODE.glob("*/templates/*")]
    return sorted(path for path in files if path.is_file())


def _age(path: str | Path) -> tuple[int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116 - called for thousands of files
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def current() -> bool:
    """Return whether a new report would equal the one on disk."""
    try:
        return all((paths.RESULTS / name).exists() for name in FILES) and (
            NOTE.read_text() == signature()
        )
    except OSError:
        return False


def begin() -> None:
    """Delete the note when a report starts; a new one is written when the report is complete."""
    NOTE.unlink(missing_ok=True)


def note(made_from: str | None) -> None:
    """Write the note of a complete report.

    made_from: the signature from before the report. None makes the next report run in any case.
    """
    if NOTE.parent.is_dir():
        files.write(NOTE, made_from or "anew")

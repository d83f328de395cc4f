"""The samples of a result, as the harness logged them.

Reads samples_<task>_<time>.jsonl in a result's directory. sample_view.py has the form that a page
shows, sample_files.py writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchy.evaluation.result import Result, Score

_FILE = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT.*\.jsonl")


def files(directory: Path, result: Result) -> list[tuple[str, Path]]:
    """Return (harness task, its samples file), sorted."""
    task_files = []
    for name in result.harness_output:
        match = _FILE.fullmatch(Path(name).name)
        if match and (directory / name).is_file():
            task_files.append((match[1], directory / name))
    return sorted(task_files)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples of a file. Lines that are not JSON objects are skipped."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                sample = json.loads(line)
            except ValueError:
                continue
            if isinstance(sample, dict):
                yield sample


def is_binary(path: Path, score: Score) -> bool:
    """Return whether a score's metric is 0 or 1 in all samples of a file that have its filter."""
    outcomes = [outcome(sample, score) for sample in read(path) if _has_filter(sample, score)]
    return bool(outcomes) and -1 not in outcomes


def outcome(sample: dict[str, Any], score: Score | None) -> int:
    """Return 1 if a sample is right by a score's metric, 0 if wrong, -1 if neither."""
    if score is None or not _has_filter(sample, score):
        return -1
    value = sample.get(score.metric.partition(",")[0])
    if not isinstance(value, int | float) or value not in (0, 1):
        return -1
    return int(value != (score.higher_is_better is False))


def _has_filter(sample: dict[str, Any], score: Score) -> bool:
    return bool(sample.get("filter", "none") == (score.metric.partition(",")[2] or "none"))

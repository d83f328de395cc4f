"""The paths of results, results/[limit-N/]MODEL/TASK/results.json, and the files there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchy.core import paths

_LIMIT = re.compile(r"limit-([1-9][0-9]*)")


def is_limit(name: str) -> bool:
    """Return whether a folder of results/ with this name has the results of a limit, such as
    limit-10, and not those of a model."""
    return bool(_LIMIT.fullmatch(name))


@dataclass(frozen=True)
class ResultId:
    """What identifies a result. limit: requests per task, None for a complete result."""

    model: str
    task: str
    limit: int | None = None

    @classmethod
    def parse(cls, path: str | os.PathLike[str]) -> ResultId:
        """Return the id of results/[limit-N/]MODEL/TASK/results.json. Raises ValueError."""
        top, *words = os.fspath(path).split("/")
        limit = _LIMIT.fullmatch(words[0]) if words else None
        match top, words[1:] if limit else words:
            case paths.RESULTS.name, [model, task, "results.json"] if not is_limit(model):
                return cls(model, task, int(limit[1]) if limit else None)
        raise ValueError(f"{path} is not the path of a result")

    @property
    def name(self) -> str:
        """[limit-N/]MODEL/TASK, as in messages and in the notes of display/activity.py."""
        return "/".join(filter(None, [paths.limit_dir(self.limit), self.model, self.task]))

    @property
    def path(self) -> Path:
        return paths.result(self.model, self.task, self.limit)


def files() -> Iterable[tuple[Path, int | None]]:
    """Yield each results.json with its limit, or None for a complete result."""
    for top in paths.RESULTS.glob("*"):
        match = _LIMIT.fullmatch(top.name)
        for path in top.glob("*/*/results.json" if match else "*/results.json"):
            yield path, int(match[1]) if match else None

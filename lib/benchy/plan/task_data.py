"""The local files to which the strings of harness tasks refer: modules, data files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchy.config import option_files
from benchy.core import paths

SKIPPED = frozenset({"__pycache__", ".ipynb_checkpoints"})


def file_at(base: Path, text: str) -> Path | None:
    """Return the file that a path names, relative to a folder; None if there is none."""
    path = Path(os.path.normpath(base / paths.home(text)))
    return path if os.path.isfile(path) else None  # noqa: PTH113 - also False for a name that is too long


def files_of_dataset(root: Path, text: str) -> list[Path]:
    """Return the files of a local folder, which takes precedence over a dataset on the hub.

    Return none for a folder that contains the project or belongs to the operating system.
    """
    path = Path("/", os.path.normpath(root / paths.home(text)).lstrip("/"))
    if not text or not os.path.isdir(path) or root.is_relative_to(path):  # noqa: PTH112
        return []
    system = any(path.is_relative_to(place) for place in option_files.SYSTEM)
    return [] if system else files_below(path)


def matched(root: Path, data_dir: Any, text: str) -> Iterator[Path]:
    """Yield the files that match one entry of `data_files`: a path or a pattern."""
    if "://" in text:
        return
    for base in (root, *([root / data_dir] if isinstance(data_dir, str) else [])):
        path = Path(os.path.normpath(base / paths.home(text)))
        if os.path.isfile(path):  # noqa: PTH113
            yield path
        elif set(text) & set("*?["):
            pattern = str(path.relative_to(path.anchor))
            yield from (file for file in Path(path.anchor).glob(pattern) if file.is_file())


def files_below(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (SKIPPED | {".git"}) & set(path.parts)
    ]

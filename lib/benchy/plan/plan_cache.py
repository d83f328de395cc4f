"""Keeps what the last plan made of each config, so that the next one expands only edited configs.

DIR/kept.json holds for each config's file the hash of its text, its models' entries in plan.json,
their rules, and the size and age of the specs written for them. It is valid only for the same base:
everything else that a plan is made from, including benchy's code. A file that is missing, damaged
or has another base is ignored.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from benchy.config.yaml_file import Document
from benchy.core import hashing, temporary_files
from benchy.core.specs import EnvironmentRequest, ModelEntry


class Expansion(TypedDict):
    """What a plan made of one config.

    Attributes:
        models: model → its entry in plan.json.
        tasks: task → hash of its spec.
        sources: model → environment → the place that requests it.
        rules: model → its rules.
    """

    models: dict[str, ModelEntry]
    tasks: dict[str, str]
    sources: dict[str, dict[str, str]]
    rules: dict[str, str]


class CacheEntry(Expansion):
    """A config in kept.json.

    Attributes:
        sha256: hash of the config's text.
        meaning: hash of what it says.
        lines: line of each key.
        specs: path of each spec written for it → its signature().
    """

    sha256: str
    meaning: str
    lines: list[int]
    specs: dict[str, list[int] | None]


def base(files: Iterable[Path], facts: Sequence[Any]) -> str:
    """Return a hash of everything that a model depends on besides its own file.

    files: files count by path and content, folders by path. facts: anything else, as JSON.
    """
    parts = [hashing.digest([sys.version, *facts]).encode()]
    for path in sorted(set(files)):
        parts.append(f"\0{path}\0".encode())
        if path.is_file():
            parts.append(path.read_bytes())
    return hashing.of_bytes(b"".join(parts))


def signature(path: str) -> list[int] | None:
    """Return [age in ns, size in bytes] of a file, None if there is no such file."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - faster, for six thousand files
    except OSError:
        return None
    return [stat.st_mtime_ns, stat.st_size]


def unchanged(entry: CacheEntry) -> bool:
    """Return whether the specs written for an entry are still the same."""
    return all(signature(path) == was for path, was in entry["specs"].items())


def meaning(document: Document) -> str:
    """Return a hash of what a config says, regardless of its line numbers."""
    written = [[*key, text] for key, text in document.written.items()]
    facts = [document.data, written, list(document.lines)]
    return hashing.of_text(json.dumps(facts))


class PlanCache:
    """The content of kept.json.

    entries: by a config's file. environments: specs by name, for all entries.
    """

    def __init__(self, path: Path, base: str) -> None:
        self.path, self.base = path, base
        self.entries: dict[str, CacheEntry] = {}
        self.environments: dict[str, EnvironmentRequest] = {}
        try:
            content = json.loads(path.read_bytes())
            if content["base"] == base:
                self.entries, self.environments = content["entries"], content["environments"]
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def get(self, file: str, text: bytes) -> CacheEntry | None:
        """Return the entry of a config if its text and its specs are still the same, else None."""
        entry = self.entries.get(file)
        if not entry or entry["sha256"] != hashing.of_bytes(text):
            return None
        return entry if unchanged(entry) else None

    def alike(self, document: Document) -> tuple[CacheEntry, dict[str, str]] | None:
        """Return the entry of a config whose text changed but says the same, and its moved lines.

        Such changes are comments, blank lines and layout. The lines are "file:line" before → now.
        Return None also if keys that shared a line are on several lines now.
        """
        entry = self.entries.get(document.file)
        if not entry or entry["meaning"] != meaning(document) or not unchanged(entry):
            return None
        moved: dict[int, int] = {}
        for was, now in zip(entry["lines"], document.lines.values(), strict=True):
            if moved.setdefault(was, now) != now:
                return None
        file = document.file
        return entry, {f"{file}:{a}": f"{file}:{b}" for a, b in moved.items() if a != b}

    def put(self, text: bytes, document: Document, specs: Iterable[str], made: Expansion) -> None:
        """Record the entry of a config, once its specs are written."""
        self.entries[document.file] = {
            **made,
            "sha256": hashing.of_bytes(text),
            "meaning": meaning(document),
            "lines": list(document.lines.values()),
            "specs": {path: signature(path) for path in specs},
        }

    def save(self, files: Iterable[str], environments: Mapping[str, EnvironmentRequest]) -> None:
        """Write kept.json without the configs that no longer exist."""
        existing = set(files)
        content = {
            "base": self.base,
            "environments": dict(environments),
            "entries": {file: entry for file, entry in self.entries.items() if file in existing},
        }
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        temporary_files.write(self.path, text)

"""Questions to a built environment's own Python, whose answers are kept."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import files, hashing, paths

Spec = Mapping[str, Any]
Facts = dict[str, Any]
FOLDER = paths.BUILD / "preflight"
SECONDS = 600  # for one question; the index of all tasks takes 20 s where nothing else runs
# Files of a model that are no part of its tokenizer, by their size.
WEIGHTS = 64 << 20


@dataclass(frozen=True)
class Question:
    """What harness_facts.py is asked: which of its parts, with which words; path: of the answer."""

    kind: str
    what: Spec
    path: Path


def small_files(folder: Path) -> list[list[str]]:
    """Name and hash of the small files of a local model; [] for one on the hub."""
    if not folder.is_dir():
        return []
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.stat().st_size < WEIGHTS)
    return [[p.name, hashing.sha256(p)] for p in files]


def ask(python: str, script: Path, question: Question, env: Mapping[str, str] | None) -> Facts:
    """A script's answer, kept. {} where there is none. env: its environment; None: run nothing."""
    path = question.path
    if env is None and not path.is_file():
        return {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several models with these tasks one asks
        try:
            kept: Facts = json.loads(path.read_bytes())
            return kept
        except (OSError, ValueError):
            pass
        command = [python, str(script), question.kind, json.dumps(question.what)]
        try:
            done = subprocess.run(
                command, env=dict(env or {}), capture_output=True, timeout=SECONDS, check=True
            )
            found: Facts = json.loads(done.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return {}
        if not any(found.get(key) for key in ("error", "errors", "unknown")):
            files.write(path, json.dumps(found, sort_keys=True))
    return found


def has_tokenizer(folder: Path) -> bool:
    """Whether a local model has files of a tokenizer; True for one on the hub."""
    if not folder.is_dir():
        return True
    patterns = ("tokenizer*", "vocab*", "*.model", "*tekken*", "spiece*")
    return any(any(folder.glob(pattern)) for pattern in patterns)

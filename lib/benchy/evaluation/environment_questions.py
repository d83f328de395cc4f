"""Runs scripts with the Python of a built environment and caches their answers."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core import files, hashing, paths

Facts = dict[str, Any]
FOLDER = paths.BUILD / "preflight"
SECONDS = 600  # for one question; the index of all tasks takes 20 s on an idle machine
# Larger files of a model are not part of its tokenizer.
WEIGHTS = 64 << 20


@dataclass(frozen=True)
class Question:
    """A question to a script such as harness_facts.py.

    Attributes:
        kind: What to find out, the script's first argument.
        subject: What to find it out of, its second argument.
        path: The file that caches the answer.
    """

    kind: str
    subject: Mapping[str, Any]
    path: Path


def small_files(folder: Path) -> list[list[str]]:
    """Return [name, hash] of each small file of a local model, or [] for a model on the hub."""
    if not folder.is_dir():
        return []
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.stat().st_size < WEIGHTS)
    return [[p.name, hashing.sha256(p)] for p in files]


def ask(python: str, script: Path, question: Question, env: Mapping[str, str] | None) -> Facts:
    """Return a script's answer, from the cache if it is there.

    Returns {} if there is none. Answers that report errors or unknown names are not cached.

    Args:
        python: The environment's Python.
        script: The script to run.
        question: Its arguments, and the path of the cached answer.
        env: Environment variables of the script; None reads only the cache.
    """
    path = question.path
    if env is None and not path.is_file():
        return {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process runs it for all models with these tasks
        if cached := files.read_json(path):
            return cached
        command = [python, str(script), question.kind, json.dumps(question.subject)]
        try:
            done = subprocess.run(
                command, env=dict(env or {}), capture_output=True, timeout=SECONDS, check=True
            )
            answer: Facts = json.loads(done.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return {}
        if not isinstance(answer, dict):
            return {}
        if not any(answer.get(key) for key in ("error", "errors", "unknown")):
            files.write(path, json.dumps(answer, sort_keys=True))
    return answer


def has_tokenizer(folder: Path) -> bool:
    """Return whether a local model has tokenizer files. True for a model on the hub."""
    if not folder.is_dir():
        return True
    patterns = ("tokenizer*", "vocab*", "*.model", "*tekken*", "spiece*")
    return any(any(folder.glob(pattern)) for pattern in patterns)

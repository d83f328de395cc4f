"""Helpers for the fresh clone that the tests in tests/e2e share."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil

RESULT = "results/quickstart/smoke/results.json"


def make(tree: Path, *words: str, timeout: float = 1500) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words], cwd=tree, capture_output=True, text=True, timeout=timeout
    )


def read(tree: Path, name: str = RESULT) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((tree / name).read_text())
    return data


def survivors(tree: Path) -> list[psutil.Process]:
    """Return the processes whose working directory is in the tree."""
    out = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(tree):
                out.append(process)
    return out


def asked(tree: Path, model: str) -> int:
    """Return how many requests the model's last server has answered, according to its log."""
    with contextlib.suppress(FileNotFoundError):
        return (tree / f"logs/serve/{model}.log").read_text().count("POST /v1/completions")
    return 0


def long_task(tree: Path) -> None:
    """Write the task `long`, unless it exists: 125 items, 500 requests."""
    folder = tree / "configs/tasks/long"
    if folder.exists():
        return
    folder.mkdir()
    shutil.copy(tree / "configs/tasks/smoke/_choice", folder)
    questions = [
        {"sentence": f"Number {n} comes before", "choices": [f"{n + k}." for k in (1, 2, 3, 4)],
         "answer": 0} for n in range(125)
    ]  # fmt: skip
    (folder / "long.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    data = "configs/tasks/long/long.jsonl"
    (folder / "long.yaml").write_text(
        f"include: _choice\ntask: long\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
    )
    (tree / "configs/tasks/long.yaml").write_text(
        "task_name: long\ninclude_path: configs/tasks/long\noffline: true\n"
        "defaults: {num_concurrent: 2}\n"
    )

"""The clone that all tests here share: a vLLM environment takes a minute and gigabytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchy.core import paths
from clone import make


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the tracked and untracked files, but not of those that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=paths.ROOT, check=True, capture_output=True,
    ).stdout.split(b"\0")  # fmt: skip
    copy = tmp_path_factory.mktemp("fresh clone", numbered=True) / "benchy"
    for name in listed:
        source = paths.ROOT / os.fsdecode(name)
        if name and source.is_file():
            target = copy / os.fsdecode(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)  # 4 GB


@pytest.fixture(scope="session")
def quickstart(tree: Path) -> Path:
    """The clone, with the result of the quickstart."""
    done = make(tree, "eval", "CONFIG=configs/quickstart.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return tree

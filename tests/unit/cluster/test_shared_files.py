"""Tests of waiting for files of another machine, which NFS may hide for a while."""

from __future__ import annotations

import asyncio
import functools
import time
from pathlib import Path

import pytest

from benchy.cluster import shared_files


def test_awaited_waits_for_late_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files, "PAUSE", 0.01)
    old, new = tmp_path / "old.json", tmp_path / "model/task/results.json"
    old.write_text("1")
    before = shared_files.marks([old, new])
    looks: list[Path] = []
    revalidate = shared_files.revalidate

    def looked(path: Path) -> None:
        """Create the files during the fifth look, after it has looked."""
        looks.append(path)
        revalidate(path)
        if len(looks) == 5:
            new.parent.mkdir(parents=True)
            new.write_text("2")
            aside = tmp_path / "aside"
            aside.write_text("1")
            aside.replace(old)

    monkeypatch.setattr(shared_files, "revalidate", looked)
    there = functools.partial(shared_files.changed, before)
    assert asyncio.run(shared_files.awaited([old, new], there, 10)) and len(looks) == 6


def test_awaited_looks_once_if_its_limit_is_0(tmp_path: Path) -> None:
    began = time.monotonic()
    before = shared_files.marks([tmp_path / "none"])
    there = functools.partial(shared_files.changed, before)
    assert not asyncio.run(shared_files.awaited(before, there, 0))
    assert time.monotonic() - began < shared_files.PAUSE


def test_look_opens_each_parent_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If NFS caches that a directory does not exist, everything below it stays hidden."""
    opened: list[str] = []
    monkeypatch.chdir(tmp_path)

    def no_file(path: Path, flags: int) -> int:
        opened.append(str(path))
        return 1 << 30

    monkeypatch.setattr("os.open", no_file)
    shared_files.revalidate(Path("results/m/t/results.json"))
    assert opened == [".", "results", "results/m", "results/m/t", "results/m/t/results.json"]

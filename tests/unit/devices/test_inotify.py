"""Waiting where the kernel has no inotify watch left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchy.devices import inotify


def test_without_a_watch_it_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    watch = inotify.Watch(tmp_path / "missing")  # as at max_user_watches: no watch is added
    assert watch.descriptor == -1
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    watch.wait(60, "")
    assert pauses == [5.0]
    watch.close()

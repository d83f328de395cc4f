"""Tests of the board and of progress output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchy.display import activity
from benchy.display.activity import Note


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_note_disappears_when_its_process_ends(here: Path) -> None:
    activity.put(Note("task", activity.name("m", "t", 3), activity.RUNNING, "asking", 1, 4))
    (mine,) = activity.notes()
    assert (mine.name, mine.pid, mine.done) == ("limit-3/m/t", os.getpid(), 1)
    script = (
        "from benchy.display import activity; import time\n"
        "activity.put(activity.Note('model', 'other', activity.STARTING)); print(); time.sleep(600)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(activity.__file__).parents[2])}
    other = subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE)
    assert other.stdout and other.stdout.readline()
    assert [note.name for note in activity.notes()] == ["other", "limit-3/m/t"]
    other.kill()
    other.wait()
    assert [note.name for note in activity.notes()] == ["limit-3/m/t"]
    assert not (here / "run/board/model/other.json").exists()
    assert (here / "run").stat().st_mode & 0o777 == 0o700

"""Comparison of the server's and the harness's tokenizers, and why a run of the harness failed."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from benchy.evaluation import (
    job,
)


def test_a_task_says_nothing_of_a_dead_server(capfd: pytest.CaptureFixture[str]) -> None:
    """bin/serve reports the death, once for all tasks."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead: Any = SimpleNamespace(server={"pid": ended.pid}, model="m", task="t")
    with pytest.raises(SystemExit) as error:
        job.check_alive(dead)
    assert error.value.code == 1 and capfd.readouterr() == ("", "")
    alive: Any = SimpleNamespace(server={"pid": os.getpid()}, model="m", task="t")
    job.check_alive(alive)
    assert capfd.readouterr() == ("", "")


# (how long the server lives, whether /health fails) → whether the task ends without a message
DYING = [("0.3", True, True), ("60", True, False), ("60", False, False), ("0", False, True)]


@pytest.mark.parametrize(("seconds", "sick", "silent"), DYING)
def test_a_failed_task_waits_for_a_dying_server(
    monkeypatch: pytest.MonkeyPatch, seconds: str, sick: bool, silent: bool
) -> None:
    monkeypatch.setattr(job, "DYING", 1.0)
    monkeypatch.setattr(job, "_sick", lambda job: sick)
    with subprocess.Popen(["sleep", seconds]) as server:
        made: Any = SimpleNamespace(server={"pid": server.pid}, model="m", task="t")
        if seconds == "0":
            server.wait()
        try:
            job.check_not_dying(made)
            assert not silent
        except SystemExit:
            assert silent
        finally:
            server.kill()

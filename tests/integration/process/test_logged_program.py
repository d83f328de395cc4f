"""Tests of programs that are killed together with this process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from benchy.process import logged_program


def test_program_whose_parent_has_died_before_it_starts_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1)
    made = tmp_path / "made"
    done = logged_program.run_program(["touch", str(made)], tmp_path / "log")
    assert done.status == -signal.SIGKILL and not made.exists()

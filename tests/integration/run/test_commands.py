"""Commands of a run, as processes."""

from __future__ import annotations

import asyncio
import os

import pytest

from benchy.run.commands import Commands


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("exit 0", 0, ""),
        ("exit 3", 3, ""),  # it has said why
        ("kill -KILL $$", -9, "WARNING bash -c was killed by SIGKILL"),
        ("kill -SEGV $$", -11, "WARNING bash -c was killed by SIGSEGV"),
    ],
)
def test_a_killed_command_is_reported(
    capfd: pytest.CaptureFixture[str], script: str, status: int, words: str
) -> None:
    commands = Commands(dict(os.environ))
    assert asyncio.run(commands.run(["bash", "-c", script])) == status
    assert " ".join(capfd.readouterr().err.split()) == words
    assert not commands.children

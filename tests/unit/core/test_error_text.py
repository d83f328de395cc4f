"""Tests that escape sequences in external text never reach a terminal."""

from __future__ import annotations

import pytest

from benchy.cli import entry as entry_command
from benchy.core.errors import Failure, Mistake, printable
from benchy.display.messages import print_lines, say

HOSTILE = "a\x1b[2Jb\x07\x9b31mc\u202ed\u2066e\rf\x00g\u2028h"
SHOWN = r"a\x1b[2Jb\x07\x9b31mc\u202ed\u2066e\rf\x00g\u2028h"


def test_control_characters_are_escaped_in_messages(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(HOSTILE) == SHOWN
    say("TAG", HOSTILE)
    print_lines(HOSTILE)
    out, err = capsys.readouterr()
    assert (out, err) == (f"{SHOWN}\n", f"  TAG     {SHOWN}\n")
    assert str(Mistake("f", 1, "k", HOSTILE, HOSTILE)).count("\n") == 1


def test_control_characters_are_escaped_in_failures(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(argv: list[str]) -> int:
        raise Failure("one\ntwo \x1b[31m", "do \x1b]0;x\x07", "logs/x", ["\tat\t\x1b[8mhidden"])

    assert entry_command.run(fails, []) == 1
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\x07" not in said
    assert said.splitlines() == [
        r"failed: one", r"two \x1b[31m", r"  |         at      \x1b[8mhidden",
        r"  log: logs/x", r"  do \x1b]0;x\x07",
    ]  # fmt: skip

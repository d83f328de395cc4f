"""Tests of the messages for system errors: full disks, permissions, limits."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from benchy.cli import entry as entry_command
from benchy.core import errors
from benchy.environments import disk_space


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "free some space (df -h 'a b'; make gc, make prune-venvs), then run"),
        (errno.EDQUOT, "free some space"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EROFS, "use a copy of the checkout"),
    ],
)
def test_system_error_hints_at_the_next_step(number: int, says: str) -> None:
    told = errors.of_system(OSError(number, os.strerror(number), "a b/c\n.json"))
    assert told.what == f"{os.strerror(number)}: a b/c\\n.json" and says in told.hint


def test_permission_error_names_the_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "closed" / "file"  # does not exist, so its nearest existing folder counts
    refused = PermissionError(errno.EACCES, "Permission denied", str(file))
    assert errors.of_system(refused).hint == (
        f"give yourself permission: chmod -R u+rwX {tmp_path}"
    )
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    hint = errors.of_system(refused).hint
    assert hint.startswith(f"{tmp_path} belongs to ") and "you are user 54321" in hint


def test_about_adds_the_file_to_an_error_without_one() -> None:
    with pytest.raises(OSError, match=r"'x/y\.json'"), errors.about("x/y.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"'a'"), errors.about("x/y.json"):
        raise OSError(errno.ENOSPC, "No space left on device", "a")


def test_command_prints_a_system_error_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> int:
        raise OSError(errno.EROFS, "Read-only file system", "run/planning")

    assert entry_command.run(main, []) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].endswith("Read-only file system: run/planning")
    assert told[1].startswith("  mount the file system writable")


def test_full_disk_is_found_for_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_space.full(tmp_path / "m.log") is None
    monkeypatch.setattr(disk_space, "FULL", 1 << 62)
    found = disk_space.full(tmp_path / "m.log")
    assert found and str(tmp_path) in found[0] and "df -h" in found[1]

"""Tests of temporary files, and of those that dead processes leave behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchy.core import temporary_files
from benchy.core.errors import Failure


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(temporary_files, "_swept", set())
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_file_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    temporary_files.write(file, "one", mode=0o600)
    assert file.read_text() == "one" and file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ZeroDivisionError), temporary_files.replacing(file) as new:
        assert new.parent == tmp_path and new != file
        new.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(UnicodeEncodeError):
        temporary_files.write(file, "\udc80")
    assert file.read_text() == "one" and os.listdir(tmp_path) == ["a.json"]  # noqa: PTH208


def test_long_names_fit_the_file_system(tmp_path: Path) -> None:
    for name in ("a" * 250, "ö" * 125):
        temporary_files.write(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


def test_temporary_folders_are_private_and_deleted(tmp_path: Path) -> None:
    with temporary_files.folder("check") as one, temporary_files.folder("check") as two:
        assert one != two and one.stat().st_mode & 0o777 == 0o700
        assert one.parent == tmp_path / f"benchy-{os.getuid()}"
    assert not list(one.parent.iterdir())


def test_folder_that_others_can_access_is_refused_with_its_own_hint(tmp_path: Path) -> None:
    (tmp_path / f"benchy-{os.getuid()}").mkdir()
    (tmp_path / f"benchy-{os.getuid()}").chmod(0o755)
    with pytest.raises(Failure, match="only this user can access") as failure:
        temporary_files.place()
    assert "set TMPDIR" in failure.value.hint and "BENCHY_LEASES" not in failure.value.hint

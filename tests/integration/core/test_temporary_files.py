"""Tests of temporary files, and of those that dead processes leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchy.core import paths, temporary_files

LIB = str(Path(temporary_files.__file__).parents[2])


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(temporary_files, "_swept", set())
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def other(path: Path) -> Path:
    """Return the temporary name of a path in another process, which has ended."""
    code = f"import sys; sys.path.insert(0, {LIB!r}); from pathlib import Path\n"
    code += "from benchy.core import temporary_files as temporary; "
    code += f"print(temporary.aside(Path({str(path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_only_leftovers_of_dead_processes_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = tmp_path / "b.json", tmp_path / "task"
    mine = temporary_files.aside(file)  # of a living process
    left = [other(file), other(folder)]
    left[1].mkdir()
    (left[1] / "half").write_text("x")
    again = mine.with_name(mine.name.replace("-", "-9"))  # our pid, but of an earlier process
    with monkeypatch.context() as patch:
        patch.setattr(os, "uname", lambda: SimpleNamespace(nodename="another"))
        elsewhere = temporary_files.aside(file)
    # A host whose name ends the same, and files with a similar name, are kept.
    alike = left[0].with_name(left[0].name.replace("~", "~x.", 1))
    looks = [tmp_path / ".b.json.1-2.tmp", tmp_path / "b~h~1-2.tmp", tmp_path / ".gamma.12.tmp"]
    for path in (mine, left[0], again, elsewhere, alike, *looks):
        path.write_text("half")
    monkeypatch.setattr(temporary_files, "_swept", set())
    temporary_files.aside(tmp_path / "c.json")
    assert {mine, elsewhere, alike, *looks} == set(tmp_path.iterdir())


def test_sweep_all_deletes_every_leftover_of_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places = (
        "build/specs/result/limit-3/m/t.json", "build/plan.json", "results/m/t", "run/summary.json",
        "results/limit-3/m/t/results.json", "venvs/e/.stamp", "venvs/.packed/e/k.tar", "e.json",
        "run/board/task/limit-3/m/t.json", "configs/locks/e.lock",
    )  # fmt: skip
    name = other(tmp_path / "x").name.removeprefix(".x")
    left = [Path(place).with_name(f".{Path(place).name}{name}") for place in places]
    old = Path("results/.old~another~12-34.tmp")
    for path in (*left, old, Path("results/.young~another~12-34.tmp")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    os.utime(old, (1, 1))
    assert set(temporary_files.leftovers()) == {*left, old}
    temporary_files.sweep_all()
    assert not any(path.exists() for path in left) and old.exists()
    assert paths.RESULTS.is_dir()

"""Tests of environments that are packed for and copied to a node's local disk.

tests/slurm tests them in jobs.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from benchy.core import paths
from benchy.core.errors import Failure
from benchy.environments import node_copies
from benchy.process.signals import Signals

ENV = "standin_1_0_0"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's scratch folder. The working directory holds a built environment."""
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    build("one")
    monkeypatch.setenv("DISK", str(tmp_path / "disk"))
    monkeypatch.setenv(node_copies.SCRATCH, "$DISK/here")
    monkeypatch.setenv(node_copies.NAMED, ENV)
    return tmp_path / "disk/here"


def build(text: str) -> None:
    folder = paths.env_dir(ENV)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "library.py").write_text(text)
    paths.stamp(ENV).write_text(text)


def brought() -> Path:
    node_copies.bring(Signals())
    return node_copies.folder(ENV)


def test_copy_is_of_the_current_build(disk: Path) -> None:
    first = node_copies.pack(ENV)
    one = brought()
    assert one.is_relative_to(disk) and (one / "library.py").read_text() == "one"
    assert brought() == one and node_copies.pack(ENV) == first
    build("two")
    assert node_copies.folder(ENV) == paths.env_dir(ENV)  # not the copy of the old build
    second = node_copies.pack(ENV)
    assert second != first and not first.exists()
    two = brought()
    assert (two / "library.py").read_text() == "two"
    assert one.exists()  # this process still uses it


def test_unused_copy_is_removed_with_the_next_copy(disk: Path) -> None:
    node_copies.pack(ENV)
    one = brought()
    while node_copies._held:
        node_copies._held.pop().close()
    build("two")
    node_copies.pack(ENV)
    two = brought()
    assert two.exists() and not one.exists()


def test_copy_under_removal_is_not_used(disk: Path) -> None:
    node_copies.pack(ENV)
    one = brought()
    while node_copies._held:
        node_copies._held.pop().close()
    with one.with_name(f".{one.name}.lock").open("a+") as remover:
        fcntl.flock(remover, fcntl.LOCK_EX)
        assert node_copies.folder(ENV) == paths.env_dir(ENV)


def test_folder_writable_by_others_is_not_used(
    disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    node_copies.pack(ENV)
    ours = disk / f"benchy-{os.getuid()}"
    ours.mkdir(parents=True)
    ours.chmod(0o777)
    assert brought() == paths.env_dir(ENV)
    assert "is not private to this user; the original is used" in capfd.readouterr().err


def test_missing_archive_falls_back_to_the_original(
    disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert brought() == paths.env_dir(ENV)
    assert "is not copied to this node" in capfd.readouterr().err


def test_truncated_archive_falls_back_to_the_original(
    disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = node_copies.pack(ENV)
    archive.write_bytes(archive.read_bytes()[:700])
    assert brought() == paths.env_dir(ENV)
    assert "cannot be unpacked" in capfd.readouterr().err
    assert not [p for p in disk.glob("*/*/*/*") if p.is_dir()]


def test_unset_scratch_falls_back_to_the_original(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(node_copies.SCRATCH)
    assert brought() == paths.env_dir(ENV)


def test_packing_an_environment_that_is_not_built_fails(disk: Path) -> None:
    with pytest.raises(Failure, match="other is not built"):
        node_copies.pack("other")

"""Commit, changed files and inputs that a result records. Uses real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import specs
from benchy.core import paths
from benchy.evaluation import provenance


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, *words], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture(name="root")
def root_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    for name in (
        "configs/m.yaml",
        "configs/tasks/a b.yaml",
        "configs/tasks/own/é.jsonl",
        ".gitignore",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("/local/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    monkeypatch.setattr(paths, "ROOT", root)
    return root


TRACKED = ["configs/m.yaml", "configs/tasks/a b.yaml", "configs/tasks/own/é.jsonl"]


def test_clean_checkout_is_not_dirty(root: Path) -> None:
    (root / "scratch.txt").write_text("nobody's")
    found = provenance.git(TRACKED)
    assert (found.dirty, found.untracked) == (False, [])
    assert found.commit == git(root, "rev-parse", "HEAD")
    assert provenance.git() == found


def test_modified_tracked_file_makes_the_checkout_dirty(root: Path) -> None:
    (root / "configs/m.yaml").write_text("other")
    found = provenance.git(TRACKED)
    assert (found.dirty, found.untracked) == (True, [])


@pytest.mark.parametrize(
    "name",
    ["configs/new.yaml", "local/ignored.yaml", "../outside.yaml", "configs/tasks/own/[a]*.x"],
)
def test_uncommitted_input_is_listed_as_untracked(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("x")
    for given in (name, str((root / name).resolve())):
        found = provenance.git([*TRACKED, given])
        assert (found.dirty, found.untracked) == (True, [given])
    if ".." not in name and "local" not in name:
        git(root, "--literal-pathspecs", "add", "--", name)
        found = provenance.git([*TRACKED, name])
        assert (found.dirty, found.untracked) == (True, [name])  # staged is not committed
        git(root, "commit", "-qm", "second")
        assert provenance.git([*TRACKED, name]).dirty is False


def test_file_in_a_linked_directory_is_untracked(root: Path) -> None:
    (root.parent / "shared").mkdir()
    (root.parent / "shared/t.yaml").write_text("x")
    (root / "configs/linked").symlink_to(root.parent / "shared")
    git(root, "add", ".")
    git(root, "commit", "-qm", "second")
    assert provenance.git(["configs/linked/t.yaml"]).untracked == ["configs/linked/t.yaml"]


def test_root_may_be_a_subdirectory_of_a_checkout(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "ROOT", root / "configs")
    assert provenance.git(["m.yaml", "tasks/a b.yaml"]).dirty is False
    assert provenance.git(["n.yaml"]).untracked == ["n.yaml"]


def test_commit_is_none_without_a_checkout_or_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    found = provenance.git(TRACKED)
    assert (found.commit, found.dirty, found.untracked) == (None, None, [])
    git(tmp_path, "init", "-q")
    assert provenance.git(TRACKED).commit is None


def test_files_are_passed_to_git_in_batches(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_AT_ONCE", 2)
    found = provenance.git([*TRACKED, "a", "b"])
    assert found.untracked == ["a", "b"]


def test_deciding_files_are_those_of_server_task_and_data(root: Path) -> None:
    (root / "draft").mkdir()
    server = specs.server(inputs={"configs/m.yaml": "1", "draft": "2"})
    read, own = {"configs/tasks/a b.yaml": "3"}, "configs/tasks/own"
    task = specs.task(inputs=read, include_path=own)
    assert provenance.inputs(server, task) == {**server["inputs"], **read}
    elsewhere = {"data/x.jsonl": "5"}
    meaning = specs.task_meaning(files={"é.jsonl": "4"}, files_elsewhere=elsewhere)
    expected = sorted([*TRACKED, "data/x.jsonl"])
    assert sorted(provenance.deciding(server, task, meaning)) == expected
    assert provenance.inputs(specs.server(), specs.task()) == {}

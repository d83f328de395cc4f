"""Fingerprints of directories, with a real git."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from benchy.core import hashing


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def fingerprint(folder: Path) -> str:
    hashing.content_of.cache_clear()
    return hashing.content_of(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("1\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert fingerprint(checkout) == commit
    for name in ("x.log", "__pycache__/a.pyc", "pkg.egg-info/PKG-INFO"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("made by a run or a build")
    assert fingerprint(checkout) == commit
    (checkout / "a.py").write_text("2\n")
    changed = subprocess.run(
        ["git", "-C", str(checkout), "diff", "HEAD"], capture_output=True, check=True
    ).stdout
    assert fingerprint(checkout) == f"{commit}+{hashlib.sha256(changed).hexdigest()[:12]}"


def test_untracked_files_count(checkout: Path) -> None:
    seen = {fingerprint(checkout)}
    for text in ("1", "2", "22"):
        (checkout / "b é.py").write_text(text)
        seen.add(fingerprint(checkout))
    (checkout / "b é.py").rename(checkout / "c.py")
    seen.add(fingerprint(checkout))
    assert len(seen) == 5
    (checkout / "c.py").unlink()
    assert fingerprint(checkout) in seen


def test_a_checkout_inside_of_another_counts(checkout: Path) -> None:
    inner = checkout / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    seen = set()
    for text in ("1", "2"):
        (inner / "a.py").write_text(text)
        git(inner, "add", "-A")
        git(inner, "commit", "-qm", text)
        seen.add(fingerprint(checkout))
    (inner / "b.py").write_text("")
    assert len({*seen, fingerprint(checkout)}) == 3


def test_only_the_fingerprint_of_a_readable_checkout_is_a_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hashing.is_commit(fingerprint(checkout))
    (checkout / "a.py").write_text("2\n")
    assert hashing.is_commit(fingerprint(checkout))
    monkeypatch.setenv("PATH", "/nowhere")
    assert not hashing.is_commit(fingerprint(checkout))


def test_a_checkout_that_git_cannot_read_counts_as_a_folder(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of another user (safe.directory), one without a commit, or without git."""
    parts = [
        [name, (checkout / name).stat().st_size, hashing.sha256(checkout / name)]
        for name in (".gitignore", "a.py")
    ]
    text = json.dumps(parts, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    expected = hashlib.sha256(text.encode()).hexdigest()
    (checkout / ".git/HEAD").write_text("nonsense")
    assert fingerprint(checkout) == expected
    monkeypatch.setenv("PATH", "/nowhere")
    assert fingerprint(checkout) == expected
    (checkout / "a.py").write_text("3\n")
    assert fingerprint(checkout) != expected

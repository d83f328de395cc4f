"""Tests of locks: reproducible, shared by a team, renewed on demand.

They run real uv against a local index.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.cli import venv as venv_command
from benchy.core import files, hashing, paths
from benchy.core.errors import Failure, UsageError
from benchy.environments import (
    builder,
    environment_spec,
    failures,
    lock_file,
    release_date,
    shared_locks,
    tables,
    uv,
)
from benchy.environments.environment_spec import BuildSpec
from benchy.plan import environment_specs
from index import Index

ENV = "pkg_1_0_0"
DAY = "2025-03-18T00:00:00Z"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An empty root as working directory, and an index with pkg 1.0.0, which needs dep 1.0."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("OFFLINE", raising=False)
    index = Index()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path / "root")
    index.add("pkg", "1.0.0", DAY, requires=["dep>=1"])
    index.add("dep", "1.0", "2025-03-01T00:00:00Z")
    with index:
        yield index


def spec(**changes: Any) -> BuildSpec:
    """Write the spec of an environment as bin/plan does, and read it."""
    given = {
        "env": ENV, "package": "pkg", "version": "1.0.0", "requirements": ["pkg==1.0.0"],
        "module": "pkg",
    }  # fmt: skip
    data = specs.environment(**given | changes)
    files.write(
        paths.env_spec(data["env"]), hashing.canonical(environment_specs.stored(data, Path()))
    )
    return BuildSpec.read(data["env"])


def text() -> str:
    return paths.lock(ENV).read_text()


def forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Change to a checkout on another machine: no lock, no cache, other directories."""
    for path in (paths.lock(ENV), paths.shared_lock(ENV)):
        path.unlink(missing_ok=True)
    for variable in ("UV_CACHE_DIR", "TMPDIR"):
        folder = tmp_path / name / variable
        folder.mkdir(parents=True)
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.chdir(folder)


# --- reproducible on any day


def test_later_uploads_do_not_change_the_lock(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.ensure_lock(spec())
    before = text()
    index.add("dep", "2.0", "2025-06-01T00:00:00Z")
    index.put("dep", "dep-1.0-2-py3-none-any.whl", b"not looked at", "2025-06-01T00:00:00Z")
    index.add("dep", "1.1", None)  # no upload time: it may be from any day
    forget(tmp_path, monkeypatch, "another")
    builder.ensure_lock(spec())
    assert text() == before
    assert "dep==1.0 " in before


def test_release_date_is_queried_once(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    builder.ensure_lock(spec())
    before = text()
    assert lock_file.header(paths.lock(ENV))["released"] == "2025-03-18T01:00:00Z"
    # A file that was added to the release later.
    index.put("pkg", "pkg-1.0.0-2-py3-none-any.whl", b"", "2026-01-01T00:00:00Z")
    monkeypatch.setattr(release_date, "find", lambda *rest: pytest.fail("asked again"))
    assert not builder.ensure_lock(spec(), fresh=True)
    assert text() == before
    builder.ensure_lock(spec(slack_days=0))
    assert lock_file.header(paths.lock(ENV))["cutoff"] == "2025-03-18T01:00:00Z"


def test_earlier_machine_cutoff_is_recorded_in_the_lock(
    index: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock is resolved again when that cutoff is set or removed. A later one has no effect."""
    index.add("dep", "9.0.0", "2025-12-01T00:00:00Z")
    wishes: dict[str, Any] = {"cutoff": "2026-01-01", "requirements": ["pkg==1.0.0", "dep"]}
    builder.ensure_lock(spec(**wishes))
    assert "dep==9.0.0" in text() and "machine_cutoff" not in text()
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2026-06-01")
    assert not builder.ensure_lock(spec(**wishes)), "a later one changes nothing"
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2025-11-01")
    assert builder.ensure_lock(spec(**wishes))
    assert "dep==9.0.0" not in text()
    assert lock_file.header(paths.lock(ENV))["machine_cutoff"] == "2025-11-01"
    assert not builder.ensure_lock(spec(**wishes))
    shared = paths.shared_lock(ENV)
    shared.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.delenv("UV_EXCLUDE_NEWER")
    assert builder.ensure_lock(spec(**wishes))
    shared.write_text(text())
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2025-11-01")
    assert builder.ensure_lock(spec(**wishes)), "nobody's lock gets round it"
    assert "newer than this machine's cutoff" in capsys.readouterr().err
    assert "dep==9.0.0" not in text()


def test_ignored_uv_constraint_is_reported(
    index: Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    builder.ensure_lock(spec())
    before = text()
    assert "kept out" not in capsys.readouterr().err
    (tmp_path / "c.txt").write_text("dep<1\n")
    monkeypatch.setenv("UV_CONSTRAINT", str(tmp_path / "c.txt"))
    builder.ensure_lock(spec(), fresh=True)
    assert text() == before
    assert "ignored for the lock: UV_CONSTRAINT;" in capsys.readouterr().err


def test_release_date_is_queried_for_another_release(index: Index) -> None:
    builder.ensure_lock(spec())
    index.add("pkg", "2.0.0", "2026-01-01T00:00:00Z")
    builder.ensure_lock(spec(version="2.0.0", requirements=["pkg==2.0.0"]))
    assert lock_file.header(paths.lock(ENV))["released"] == "2026-01-01T01:00:00Z"


def test_lock_contains_nothing_of_this_machine(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds even if the machine's uv.toml sets emit-index-url and emit-find-links."""
    settings = tmp_path / "config/uv/uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[pip]\nemit-index-url = true\nemit-find-links = true\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    builder.ensure_lock(spec())
    said = (paths.LOGS / "venv" / f"{ENV}.log").read_text()
    assert "127.0.0.1" not in text(), said
    assert str(tmp_path) not in text()
    assert "--find-links" not in text()


UV_TELLS = """\
--index-url https://user:secret@host/simple
--find-links /srv/wheels

# via something
a==1.0 ; python_version < '4' \\
    --hash=sha256:00 \\
    --hash=sha256:11
    # from https://host/simple
b @ git+https://host/b@0123456789
"""


def test_lock_text_keeps_only_packages_and_hashes(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(lock_file.text({"x": 1}, UV_TELLS))
    assert "host/simple" not in path.read_text()
    said = lock_file.header(path)
    assert said.pop(lock_file.SEAL) and said == {"x": 1}
    assert lock_file.packages(path) == [
        lock_file.Package("a", "1.0", ("sha256:00", "sha256:11")),
        lock_file.Package("b", "git+https://host/b@0123456789"),
    ]


def test_digest_covers_packages_and_not_the_header(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).write_text(lock_file.text({"x": number}, UV_TELLS))
    assert lock_file.digest(tmp_path / "1") == lock_file.digest(tmp_path / "2") != ""
    assert lock_file.digest(tmp_path / "none") == ""


def test_differences_list_removed_changed_and_added_packages() -> None:
    old = [("a", "1", ("x",)), ("b", "1", ()), ("c", "1", ("x",)), ("d", "1", ())]
    new = [("a", "1", ("x",)), ("c", "1", ("y",)), ("d", "2", ()), ("e", "https://x/e.whl", ())]
    told = lock_file.differences(
        [lock_file.Package(*each) for each in old], [lock_file.Package(*each) for each in new]
    )
    assert list(told) == ["- b==1", "~ c==1: different files", "~ d 1 → 2", "+ e @ https://x/e.whl"]


# --- shared by a team


def shared(**changes: Any) -> str:
    """Leave only a shared lock, as if somebody else had committed it, and return its text."""
    builder.ensure_lock(spec(**changes))
    shared_locks.share(BuildSpec.read(ENV))
    paths.lock(ENV).unlink()
    return paths.shared_lock(ENV).read_text()


def test_shared_lock_is_used_without_resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = shared()
    monkeypatch.setattr(uv, "run", lambda *rest: pytest.fail("resolved"))
    assert builder.ensure_lock(spec())
    assert text() == theirs
    assert not builder.ensure_lock(spec())


def test_shared_lock_takes_precedence_over_the_local_lock(index: Index) -> None:
    theirs = shared()
    index.add("dep", "1.5", "2025-03-02T00:00:00Z")
    paths.shared_lock(ENV).unlink()
    builder.ensure_lock(spec())  # the index has a newer dep than the shared lock
    assert "dep==1.5" in text()
    paths.shared_lock(ENV).write_text(theirs)
    assert builder.ensure_lock(spec())
    assert text() == theirs
    assert paths.env_spec(ENV).stat().st_mtime_ns < paths.lock(ENV).stat().st_mtime_ns


def test_shared_lock_with_same_packages_makes_nothing_stale() -> None:
    builder.ensure_lock(spec())
    age = paths.lock(ENV).stat().st_mtime_ns
    shared_locks.share(BuildSpec.read(ENV))
    assert not builder.ensure_lock(spec())
    assert paths.lock(ENV).stat().st_mtime_ns == age
    assert paths.env_spec(ENV).stat().st_mtime_ns < age, "Make does not ask again"


def test_changed_shared_lock_changes_the_spec() -> None:
    """Only its content counts, because git sets the mtime of each file to the time of a pull."""
    shared()
    first = paths.env_spec(ENV).read_text()
    spec()
    second = paths.env_spec(ENV).read_text()
    assert first != second
    os.utime(paths.shared_lock(ENV))
    spec()
    assert paths.env_spec(ENV).read_text() == second
    paths.shared_lock(ENV).write_text("another")
    spec()
    assert paths.env_spec(ENV).read_text() != second


STALE = [
    ("of another configuration", {"constraints": ["dep<9"]}, "linux-x86_64", "another config"),
    ("of another kind of machine", {}, "linux-sparc", "is for linux-sparc, not"),
]


@pytest.mark.parametrize(
    ("changes", "platform", "told"), [row[1:] for row in STALE], ids=[row[0] for row in STALE]
)
def test_unsuitable_shared_lock_is_reported_and_ignored(
    changes: dict[str, Any],
    platform: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(environment_spec, "PLATFORM", platform)
    theirs = shared(**changes)
    monkeypatch.setattr(environment_spec, "PLATFORM", "linux-x86_64")
    builder.ensure_lock(spec())
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1, "one line"
    assert text() != theirs
    assert paths.shared_lock(ENV).read_text() == theirs
    assert tables._shared(ENV)


def test_shared_lock_without_header_is_reported_and_ignored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = paths.shared_lock(ENV)
    path.parent.mkdir(parents=True)
    path.write_text("dep==0.1\n")
    builder.ensure_lock(spec())
    assert f"{path} has no benchy header" in capsys.readouterr().err
    assert "dep==1.0" in text()


# --- renewed on demand


def test_lock_fresh_prints_the_differences(
    index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    spec()
    assert venv_command.main(["lock", ENV, "--share"]) == 0
    assert capsys.readouterr().out == "", "there was nothing to compare"
    assert venv_command.main(["lock", ENV, "--fresh"]) == 0
    assert "the same 2 packages as before" in capsys.readouterr().out
    index.add("dep", "1.5", "2025-03-02T00:00:00Z", requires=["new"])
    index.add("new", "0.1", "2025-03-02T00:00:00Z")
    assert venv_command.main(["lock", ENV, "--fresh"]) == 0
    told = capsys.readouterr()
    assert told.out == "~ dep 1.0 → 1.5\n+ new==0.1\n"
    assert "commit it" in told.err
    assert paths.shared_lock(ENV).read_text() == text(), "renewed, since it was there"


def test_shared_lock_of_another_platform_is_replaced_only_with_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment_spec, "PLATFORM", "linux-sparc")
    theirs = shared()
    monkeypatch.setattr(environment_spec, "PLATFORM", "linux-x86_64")
    assert venv_command.main(["lock", ENV, "--fresh"]) == 0
    assert paths.shared_lock(ENV).read_text() == theirs
    assert venv_command.main(["lock", ENV, "--share"]) == 0
    assert paths.shared_lock(ENV).read_text() == text()


def test_lock_with_a_local_file_is_not_shared(index: Index, tmp_path: Path) -> None:
    wheel = tmp_path / "dep-7.0-py3-none-any.whl"
    index.add("dep", "7.0", None)
    wheel.write_bytes(index.files[wheel.name])
    spec(requirements=["pkg==1.0.0", f"dep @ {wheel.as_uri()}"])
    with pytest.raises(UsageError, match="refers to a file on this machine"):
        venv_command.main(["lock", ENV, "--share"])
    assert "dep @ file://" in text()
    assert not paths.shared_lock(ENV).exists()


def test_lock_of_the_main_environment_cannot_be_shared() -> None:
    with pytest.raises(UsageError, match=r"uv\.lock"):
        shared_locks.share(BuildSpec.read(paths.MAIN))


def test_info_lists_every_package(capsys: pytest.CaptureFixture[str]) -> None:
    builder.ensure_lock(spec())
    assert venv_command.main(["info", ENV]) == 0
    assert "dep==1.0 pkg==1.0.0" in capsys.readouterr().out
    assert venv_command.main(["info", ENV, "--format", "json"]) == 0
    packages = json.loads(capsys.readouterr().out)["packages"]
    assert [(p["name"], p["version"]) for p in packages] == [("dep", "1.0"), ("pkg", "1.0.0")]
    assert all(hash_.startswith("sha256:") for p in packages for hash_ in p["hashes"])


# --- another cutoff


def test_each_cutoff_has_its_own_environment() -> None:
    """With the shipped engine file, the same version and cutoff always give the same directory."""
    plain = venv_command._of_version("0.8.0", "", "")
    assert plain == "vllm_0_8_0"
    assert venv_command._of_version("0.8.0", "", "release") == plain, "the engine's own"
    others = {
        venv_command._of_version("0.8.0", "", day) for day in ("none", "2025-04-01", "2025-05-01")
    }
    assert len(others | {plain}) == 4
    assert all(name.startswith("vllm_0_8_0_x") for name in others)
    assert (
        BuildSpec.read(venv_command._of_version("0.8.0", "", "2025-04-01")).cutoff == "2025-04-01"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--version", "0.8.0", "--cutoff", "yesterday"], "CUTOFF: 'yesterday' is not a date"),
        (["--cutoff", "none"], "CUTOFF: uv.lock defines the main environment"),
        ([ENV, "--cutoff", "none"], "different environments"),
    ],
)
def test_invalid_uses_of_cutoff_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        venv_command.main(["lock", *words])


# --- an index without upload times, or unreachable


def test_index_without_upload_times_needs_cutoff_none(index: Index) -> None:
    index.add("old", "1.0.0", None)
    asked = {"package": "old", "requirements": ["old==1.0.0"]}
    with pytest.raises(Failure, match="no upload times for old") as told:
        builder.ensure_lock(spec(**asked))
    assert "CUTOFF" in told.value.hint
    assert failures.failure_of(ENV)["stage"] == "lock"
    assert builder.ensure_lock(spec(**asked, cutoff="none"))
    assert "old==1.0.0" in text()


def test_unreachable_index_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(Failure, match="cannot be reached") as told:
        builder.ensure_lock(spec())
    assert "network" in told.value.hint and told.value.page == 33


# --- locks that were edited


OTHER = "pkg==1.0.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"
TAMPERED: list[tuple[str, Any, str]] = [
    ("a hash", lambda lock: re.sub(r"sha256:\w", "sha256:f", lock), "was changed"),
    ("a version", lambda lock: lock.replace("dep==1.0", "dep==0.9"), "was changed"),
    ("a package removed", lambda lock: lock.rpartition("pkg==")[0], "was changed"),
    ("a package added", lambda lock: lock + OTHER.replace("pkg", "evil"), "was changed"),
    ("the header", lambda lock: lock.replace('"hashes": true', '"hashes": false'), "was changed"),
    ("an index", lambda lock: lock + "--index-url https://evil.example\n", "something other"),
    ("another file", lambda lock: lock + "-r /etc/passwd\n", "something other"),
    ("no hash", lambda lock: lock + "six\n", "something other"),
    ("a conflict", lambda lock: lock + "=======\n" + lock + ">>>>>>> other\n", "something other"),
    ("a long line", lambda lock: lock + "# " + "x" * 10_000_000, "something other"),
    ("nothing", lambda lock: "", "no benchy header"),
    ("no header", lambda lock: lock.partition("\n")[2], "no benchy header"),
    ("bytes", lambda lock: bytes(range(256)), "cannot be read"),
]


@pytest.mark.parametrize(
    ("change", "said"), [r[1:] for r in TAMPERED], ids=[r[0] for r in TAMPERED]
)
def test_edited_lock_is_reported_and_resolved_again(
    change: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    builder.ensure_lock(spec())
    before, other = text(), change(text())
    data = other if isinstance(other, bytes) else other.encode()
    paths.lock(ENV).write_bytes(data)
    assert said in lock_file.flaw(paths.lock(ENV))
    builder.ensure_lock(spec())
    assert text() == before
    assert said in capsys.readouterr().err
    shared = paths.shared_lock(ENV)
    shared.parent.mkdir(parents=True)
    shared.write_bytes(data)
    builder.ensure_lock(spec())
    assert text() == before
    assert f"{shared} " in capsys.readouterr().err


def test_lock_with_crlf_line_ends_stays_valid(capsys: pytest.CaptureFixture[str]) -> None:
    builder.ensure_lock(spec())
    before = lock_file.digest(paths.lock(ENV))
    paths.lock(ENV).write_bytes(text().replace("\n", "\r\n").encode())
    assert not builder.ensure_lock(spec())
    assert (lock_file.digest(paths.lock(ENV)), capsys.readouterr().err) == (before, "")


def test_lock_without_seal_stays_valid(capsys: pytest.CaptureFixture[str]) -> None:
    builder.ensure_lock(spec())
    old = re.sub(r', "seal": "\w+"', "", text())
    assert lock_file.SEAL not in old
    paths.lock(ENV).write_text(old)
    assert not builder.ensure_lock(spec())
    assert "WARNING" not in capsys.readouterr().err

"""Tests of engines from sources other than the machine's index: git, wheels, URLs, private indexes.

uv, the git repository and the HTTP server on the loopback are real. The package is the stand-in
engine of tests/build, so the real probe checks the built environment.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import empty_root
from benchy.config import loader
from benchy.core import paths
from benchy.core.errors import Failure
from benchy.environments import (
    builder,
    health,
    interpreters,
    lock_file,
    private_indexes,
    release_date,
    resolver,
    uv,
)
from benchy.environments.environment_spec import BuildSpec
from benchy.plan import environment_specs
from benchy.process import logged_program
from index import Index

ENV, PACKAGE = "standin_x", "standin-engine"
WHEEL = "standin_engine-1.1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    return empty_root.module(empty_root.ROOT / "tests/support/wheels.py")


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An empty index, configured as the machine's index."""
    empty_root.enter(tmp_path, monkeypatch)
    with Index() as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        yield index


def asked(source: str, version: str | None = None, **changes: Any) -> BuildSpec:
    """Return the spec of an engine from a source, as bin/plan writes it."""
    where = environment_specs.engine_source(source, Path.cwd())
    changes |= {"requirements": [f"{PACKAGE} @ {where.url}"]}
    changes |= {"checkout": where.checkout} if where.checkout else {}
    return empty_root.spec(ENV, PACKAGE, version, **{"cutoff": "none", **changes})


def only_package() -> lock_file.Package:
    (package,) = lock_file.packages(paths.lock(ENV))
    return package


def repacked(data: bytes, release: str) -> bytes:
    """Repack a wheel of 1.1.0 as another release, or as another file of the same release."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.namelist():
            held = b"" if entry.endswith("RECORD") else old.read(entry)
            about = ".dist-info/" in entry
            held = held.replace(b"1.1.0", release.encode()) if about else held
            new.writestr(entry.replace("1.1.0.dist", f"{release}.dist"), held)
    return buffer.getvalue()


def test_local_wheel_is_installed_and_locked_by_hash(maker: ModuleType, tmp_path: Path) -> None:
    name, data = maker.wheel(PACKAGE, "1.1.0")
    (tmp_path / name).write_bytes(data)
    spec = asked(f"../{name}")
    assert builder.create(spec)
    assert health.stamp(ENV)["version"] == "1.1.0", "whatever release it is"
    assert only_package().hashes, "a file that was exchanged since is refused"
    assert lock_file.header(paths.lock(ENV))["hashes"] is True
    (tmp_path / name).write_bytes(repacked(data, "1.1.0"))
    paths.stamp(ENV).unlink()
    with pytest.raises(Failure, match="cannot be installed"):
        builder.create(spec)
    environment_specs.wheel_sha256.cache_clear()  # as a new process starts
    assert asked(f"../{name}").inputs != spec.inputs


def test_local_wheel_of_another_release_is_refused(maker: ModuleType, tmp_path: Path) -> None:
    name, data = maker.wheel(PACKAGE, "1.1.0")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Failure, match="does not work: version") as told:
        builder.create(asked(f"../{name}", "2.0.0"))
    assert told.value.lines == ["standin-engine is 1.1.0, not 2.0.0"]


def test_wheel_from_a_url_is_installed_and_locked_by_hash(maker: ModuleType, index: Index) -> None:
    name, index.files[WHEEL] = maker.wheel(PACKAGE, "1.1.0")
    url = f"{index.url.removesuffix('simple')}files/{name}"
    spec = asked(url)
    assert builder.create(spec)
    assert health.stamp(ENV)["version"] == "1.1.0"
    assert only_package().version == url
    assert only_package().hashes
    before = paths.lock(ENV).read_text()
    # A nightly build is replaced under the same URL. It takes effect only if it is locked again.
    index.files[WHEEL] = repacked(index.files[WHEEL], "1.1.0")
    assert builder.ensure_lock(spec, fresh=True)
    assert paths.lock(ENV).read_text() != before


BACKEND = """\
from pathlib import Path
import wheels
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, data = wheels.wheel("standin-engine", Path("release").read_text().strip())
    Path(folder, name).write_bytes(data)
    return name
"""
PROJECT = """\
[project]
name = "standin-engine"
dynamic = ["version"]
requires-python = ">=3.10"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository that builds the stand-in engine; release 1.1.0 is tagged, main is 2.0.0."""
    place = tmp_path / "repository"
    place.mkdir()
    for name in ("wheels.py", "standin"):
        (place / name).symlink_to(empty_root.ROOT / "tests/support" / name)
    subprocess.run(["cp", "-rL", "standin", "wheels.py", "../"], cwd=place, check=True)
    for name in ("wheels.py", "standin"):
        (place / name).unlink()
        (tmp_path / name).rename(place / name)
    (place / "backend.py").write_text(BACKEND)
    (place / "pyproject.toml").write_text(PROJECT)
    (place / "release").write_text("1.1.0\n")
    git(place, "init", "--quiet", "--initial-branch=main")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=one")
    git(place, "tag", "v1.1.0")
    (place / "release").write_text("2.0.0\n")
    git(place, "commit", "--quiet", "--all", "--message=two")
    return place


def git(place: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    command = ["git", "-C", str(place), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_git_revision_is_locked_to_its_commit(repository: Path) -> None:
    spec = asked(f"git+{repository.as_uri()}@v1.1.0")
    assert builder.create(spec)
    assert health.stamp(ENV)["version"] == "1.1.0"
    assert only_package().version.endswith("@" + git(repository, "rev-parse", "v1.1.0"))
    main = asked(f"git+{repository.as_uri()}@main", "2.0.0", cutoff="2026-01-01")
    assert builder.create(main)
    assert health.stamp(ENV)["version"] == "2.0.0"
    locked = paths.lock(ENV).read_text()
    (repository / "release").write_text("2.0.1\n")
    git(repository, "commit", "--quiet", "--all", "--message=three")
    assert not builder.ensure_lock(main), "a branch stays where it was locked"
    assert builder.ensure_lock(main, fresh=True)
    assert paths.lock(ENV).read_text() != locked


def test_missing_git_revision_is_reported(repository: Path) -> None:
    with pytest.raises(release_date.NoSuchRelease, match="repository has no revision nonesuch"):
        builder.ensure_lock(asked(f"git+{repository.as_uri()}@nonesuch"))
    with pytest.raises(release_date.NoSuchRelease, match="repository has no revision 0123abc"):
        builder.ensure_lock(asked(f"git+{repository.as_uri()}@0123abc"))


def test_unreachable_repository_is_a_failure_without_kind(tmp_path: Path) -> None:
    """It may be private, or its host may be down, so it is not reported as a missing release."""
    with pytest.raises(Failure, match=f"{ENV} cannot be resolved") as told:
        builder.ensure_lock(asked(f"git+{(tmp_path / 'gone').as_uri()}@main"))
    assert told.value.kind == ""


def test_missing_file_and_unreachable_host_are_told_apart(index: Index) -> None:
    url = f"{index.url.removesuffix('simple')}files/{WHEEL}"
    with pytest.raises(release_date.NoSuchRelease, match=f"there is no file at {url}"):
        builder.ensure_lock(asked(url))
    gone = asked("http://127.0.0.1:1/" + WHEEL)
    with pytest.raises(Failure, match="cannot be reached") as told:
        builder.ensure_lock(gone)
    assert told.value.kind == ""


# --- private indexes


@pytest.fixture
def own(maker: ModuleType) -> Iterator[Index]:
    """A private index. Like most of them it has no upload times."""
    with Index() as own:
        name, data = maker.wheel(PACKAGE, "1.1.0")
        own.put(PACKAGE, name.replace("1.1.0", "1.1.0+ours"), repacked(data, "1.1.0+ours"), None)
        yield own


def test_private_index_precedes_the_machine_index(own: Index, index: Index) -> None:
    """Dependencies of a private build still come from the machine's index, as of the cutoff."""
    index.put(PACKAGE, WHEEL, b"the public one", "2025-01-01T00:00:00Z")
    index.add("dep", "1.0", "2025-01-01T00:00:00Z")
    index.add("dep", "2.0", "2026-01-01T00:00:00Z")
    wishes = {"requirements": [f"{PACKAGE}==1.1.0", "dep"], "cutoff": "2025-06-01"}
    spec = empty_root.spec(ENV, PACKAGE, "1.1.0", **wishes, index=[own.url])
    assert builder.create(spec)
    locked = {p.name: p.version for p in lock_file.packages(paths.lock(ENV))}
    assert locked == {PACKAGE: "1.1.0+ours", "dep": "1.0"}
    assert health.stamp(ENV)["version"] == "1.1.0+ours"
    assert "127.0.0.1" not in paths.lock(ENV).read_text(), "no index in a lock"
    plain = empty_root.spec("plain", PACKAGE, "1.1.0", **wishes)
    assert plain.inputs != spec.inputs


def test_package_of_a_private_index_is_taken_from_no_other_index(own: Index, index: Index) -> None:
    """Otherwise anyone could register a private name on a public index (uv's first-index)."""
    own.add("ours", "1.0", None)
    index.add("ours", "9.0", "2025-01-01T00:00:00Z")
    wishes: dict[str, Any] = {"cutoff": "none", "index": [own.url]}
    spec = empty_root.spec(ENV, "ours", None, requirements=["ours"], **wishes)
    builder.ensure_lock(spec)
    assert only_package().version == "1.0"
    with pytest.raises(release_date.NoSuchRelease, match=r"no release 9\.0 of ours"):
        builder.ensure_lock(empty_root.spec(ENV, "ours", "9.0", **wishes))


def test_extra_indexes_of_pip_follow_the_private_index(
    own: Index, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.add("a", "1.0", None)
    with Index() as extra:
        extra.add("a", "2.0", "2025-01-01T00:00:00Z")
        extra.add("b", "1.0", "2025-01-01T00:00:00Z")
        index.add("b", "2.0", "2025-01-01T00:00:00Z")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", extra.url)
        wishes: dict[str, Any] = {"cutoff": "none", "index": [f"ours={own.url}"]}
        spec = empty_root.spec(ENV, "a", None, requirements=["a", "b"], **wishes)
        builder.ensure_lock(spec)
        locked = {p.name: p.version for p in lock_file.packages(paths.lock(ENV))}
        assert locked == {"a": "1.0", "b": "1.0"}
        spec = empty_root.spec(ENV, "a", None, requirements=["a==2.0", "b>1"], **wishes)
        builder.ensure_lock(spec)
        locked = {p.name: p.version for p in lock_file.packages(paths.lock(ENV))}
        assert locked == {"a": "2.0", "b": "2.0"}, "what the first lacks, the next may have"


@pytest.mark.parametrize("holder", ["variables", "netrc"])
def test_password_of_a_private_index_comes_from_variables_or_netrc(
    own: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    own.password = b"me:s3cret"
    spec = empty_root.spec(ENV, PACKAGE, "1.1.0", cutoff="2025-06-01", index=[f"ours={own.url}"])
    with pytest.raises(Failure):
        builder.ensure_lock(spec)
    if holder == "variables":
        monkeypatch.setenv("UV_INDEX_OURS_USERNAME", "me")
        monkeypatch.setenv("UV_INDEX_OURS_PASSWORD", "s3cret")
    else:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert builder.create(spec)
    log = (paths.LOGS / "venv" / f"{ENV}.log").read_text()
    assert "s3cret" not in log + paths.lock(ENV).read_text()


def test_private_index_without_upload_times_needs_a_cutoff(own: Index) -> None:
    spec = empty_root.spec(ENV, PACKAGE, "1.1.0+ours", index=[own.url])
    with pytest.raises(Failure, match="no upload times") as told:
        builder.ensure_lock(spec)
    assert "cutoff" in told.value.hint


def test_private_indexes_become_a_uv_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_INDEX_STRATEGY", raising=False)
    machine = {
        "XDG_CONFIG_HOME": "/nonesuch",
        "UV_INDEX": "corp=https://u:p@corp/simple more",
        "UV_EXTRA_INDEX_URL": "https://extra/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    with private_indexes.project(["ours=https://own/simple"], machine) as (folder, environ):
        text = (folder / "uv.toml").read_text()
        assert (folder / "uv.toml").stat().st_mode & 0o077 == 0
    assert not folder.exists()
    assert text.count("[[index]]") == 4
    assert text.index("own/simple") < text.index("corp/simple") < text.index("extra/simple")
    assert 'name = "ours"\nexclude-newer = false' in text
    assert text.count("exclude-newer") == 1
    assert (Path.cwd() / "more").as_uri() in text
    assert "UV_INDEX" not in environ
    assert environ["UV_INDEX_STRATEGY"] == "unsafe-first-match"
    monkeypatch.setenv("UV_INDEX_STRATEGY", "first-index")
    with private_indexes.project(["https://own/simple"], dict(machine)) as (_, environ):
        assert environ["UV_INDEX_STRATEGY"] == "unsafe-best-match", "a person's own word holds"
    with private_indexes.project([], machine) as (folder, environ):
        assert (str(folder), environ) == ("/", machine | {"UV_NO_CONFIG": "1"})


# --- Pythons


INSTALLED = json.dumps(
    [{"version": "3.13.2", "path": "/opt/python3.13", "implementation": "cpython",
      "variant": "default"}]
)  # fmt: skip


@pytest.fixture
def only_3_13(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A machine that has only Python 3.13 and can download others. Returns the calls of uv."""
    told: list[list[str]] = []

    def answer(arguments: list[str], *rest: object, **more: object) -> logged_program.Done:
        told.append(arguments)
        if arguments[:2] == ["python", "list"]:
            return logged_program.Done(0, INSTALLED)
        if arguments[:2] == ["python", "find"]:
            return logged_program.Done(0, f"/downloaded/python{arguments[2]}\n")
        if arguments[0] == "pip":
            return logged_program.Done(0, "vllm==0.8.0 \\\n    --hash=sha256:00\n")
        return logged_program.Done(0, "")

    monkeypatch.setattr(uv, "run", answer)
    monkeypatch.setattr(sys, "base_prefix", "/nowhere")
    return told


def old_release(**changes: Any) -> BuildSpec:
    """Return the spec of vLLM 0.8.0 from the shipped engine file."""
    engine = loader.load_engines(empty_root.ROOT)["vllm"]
    request = environment_specs.ReleaseRequest("vllm", engine, "0.8.0", "x")
    data = environment_specs.environment_spec(request)
    return empty_root.spec(**{**data, "cutoff": "none", **changes})


def test_old_release_gets_a_supported_python(only_3_13: list[list[str]]) -> None:
    spec = old_release()
    resolver.lock(spec)
    assert ["python", "install", "3.12"] in only_3_13
    (compiling,) = [words for words in only_3_13 if "--generate-hashes" in words]
    assert compiling[compiling.index("--python") + 1] == "/downloaded/python3.12"
    assert lock_file.header(paths.lock(spec.env))["python"] == "3.12"


def test_missing_python_is_reported_offline(
    only_3_13: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLINE", "1")
    with pytest.raises(Failure, match=r"no Python here fits >=3\.9,<3\.13") as told:
        resolver.lock(old_release())
    assert "uv python install 3.12" in told.value.hint and told.value.page == 29
    assert not any(words[:2] == ["python", "install"] for words in only_3_13)


def test_upper_bound_of_requires_python_applies_without_cutoff(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv ignores the upper bound of Requires-Python."""
    monkeypatch.setenv("OFFLINE", "0")
    index.add("bound", "1.0", "2025-01-01T00:00:00Z", python=">=3.8,<3.10")
    monkeypatch.setattr(interpreters, "DOWNLOADABLE", ())
    spec = empty_root.spec(ENV, "bound", "1.0", cutoff="none", python=">=3.10")
    with pytest.raises(Failure, match="cannot be resolved on Python") as told:
        builder.ensure_lock(spec)
    assert "needs Python >=3.8,<3.10" in " ".join(told.value.lines)


@pytest.mark.parametrize("backend", ["cu128", "auto"])
def test_torch_backend_is_passed_to_uv(only_3_13: list[list[str]], backend: str) -> None:
    resolver.lock(old_release(torch_backend=backend))
    (compiling,) = [words for words in only_3_13 if "--generate-hashes" in words]
    assert compiling[compiling.index("--torch-backend") + 1] == backend
    options = lock_file.header(next(paths.VENVS.glob("*.lock")))["options"]
    assert options == ["--torch-backend", backend], "and again when it is installed"

"""The wheelhouse: its files, what is missing, and installing from it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from benchy.environments import pip_settings
from benchy.environments.lock_file import Package
from benchy.maintenance import wheelhouse

PLAIN, LOCAL = "torch-2.13.0-cp311-none-any.whl", "torch-2.13.0+cpu-cp311-none-any.whl"


def put(folder: Path, name: str, content: bytes = b"x") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return "sha256:" + hashlib.sha256(content).hexdigest()


def test_local_builds_are_kept_in_their_own_folder(tmp_path: Path) -> None:
    """Installers prefer torch 2.13.0+cpu to 2.13.0, so the two need separate folders."""
    for name in (PLAIN, LOCAL):
        put(tmp_path / "in", name)
    house = wheelhouse.Wheelhouse(tmp_path / "house")
    house.keep((tmp_path / "in").iterdir())
    assert (house.folder / PLAIN).exists() and (house.folder / "local-cpu" / LOCAL).exists()
    assert pip_settings.folders(house.folder) == [house.folder, house.folder / "local-cpu"]


def test_file_is_identified_by_its_hash(tmp_path: Path) -> None:
    house = wheelhouse.Wheelhouse(tmp_path)
    good = put(tmp_path, "a-1-py3-none-any.whl", b"good")
    house.hash_files()
    package = Package("a", "1", ("sha256:" + "0" * 64, good))
    assert house.has(package) and house.path(package) == tmp_path / "a-1-py3-none-any.whl"
    put(tmp_path, "a-1-py3-none-any.whl", b"damaged")  # its size changes, so it is hashed again
    house.hash_files()
    assert not house.has(package)


def test_packages_are_fetched_by_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Additional indexes are used. Packages from URLs are skipped: no folder can provide them."""
    told: list[list[str]] = []

    def download(house: object, python: str, words: list[str], label: str) -> None:
        told.append([*words[:-1], Path(words[-1]).read_text()])

    monkeypatch.setattr(wheelhouse, "download", download)
    packages = [
        Package("a", "1", ("sha256:0",)),
        Package("b", "https://host/b-1-py3-none-any.whl", ("sha256:1",)),
        Package("c", "git+https://host/c@0123"),
    ]
    house, own = wheelhouse.Wheelhouse(tmp_path), ["ours=https://own/simple"]
    assert wheelhouse.fetch(house, packages, "python", "x", own) == 1
    ((index, *_, requirements),) = told
    assert index == "--extra-index-url=https://own/simple"
    assert requirements == "a==1 --hash=sha256:0\n"


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        (None, ["setuptools", "wheel"]),
        ('[build-system]\nrequires = ["hatchling>=1", \'x\']\nbuild-backend = "y"\n',
         ["hatchling>=1", "x"]),
        ('[tool.x]\nrequires = ["no"]\n', ["setuptools", "wheel"]),
        ('[build-system]\nrequires = [\n  "setuptools>=61",\n]\n[project]\nrequires = ["no"]\n',
         ["setuptools>=61"]),
    ],
)  # fmt: skip
def test_build_needs_reads_the_build_requirements_of_a_source(
    tmp_path: Path, text: str | None, needs: list[str]
) -> None:
    file = tmp_path / "a-1.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        for name, content in (("a-1/setup.py", ""), ("a-1/pyproject.toml", text)):
            if content is not None:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content.encode()))
    assert wheelhouse.build_needs(file) == needs
    assert wheelhouse.build_needs(tmp_path / "a-1-py3-none-any.whl") == []


def test_wheelhouse_replaces_the_index(tmp_path: Path) -> None:
    house = tmp_path / "with space"
    put(house / "local-cpu", LOCAL)
    environ = {"WHEELHOUSE": str(house), "PIP_INDEX_URL": "https://example.org/simple"}
    settings = pip_settings.uv_variables(environ, files=[])
    assert settings["UV_FIND_LINKS"] == f"{house},{house / 'local-cpu'}"
    assert "UV_DEFAULT_INDEX" not in settings
    assert pip_settings.uv_arguments(environ, files=[]) == ["--no-index"]
    both = pip_settings.uv_variables({**environ, "UV_FIND_LINKS": "/mine"}, files=[])
    assert both["UV_FIND_LINKS"] == f"/mine,{house},{house / 'local-cpu'}"
    assert pip_settings.wheelhouse({"OFFLINE": "1"}) is None  # there is no wheelhouse/ here

"""Tests of a release's date and Python versions, which real uv queries from a local HTTP index."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from benchy.core.errors import Failure
from benchy.environments import release_date
from benchy.process import logged_program
from index import Index

UTC = timezone.utc


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    index = Index()
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "UV_INDEX", "OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with index:
        yield index


def find(tmp_path: Path, version: str) -> release_date.PublishedRelease | logged_program.Done:
    ask = release_date.IndexQuery(sys.executable, tmp_path / "log")
    return release_date.find("pkg", version, platform.python_version(), ask)


def test_release_date_is_the_latest_upload(index: Index, tmp_path: Path) -> None:
    index.add("pkg", "1.0", "2025-03-18T00:22:25.922758Z")
    found = find(tmp_path, "1.0")
    assert isinstance(found, release_date.PublishedRelease)
    assert found.uploaded == datetime(2025, 3, 18, 1, 22, 25, tzinfo=UTC)
    assert found.cutoff(7) == "2025-03-25T01:22:25Z"
    assert found.cutoff(0) == "2025-03-18T01:22:25Z"


@pytest.mark.parametrize("python", [">=3.99", ">=3.6,<3.10", ">=3.9,<3.10"])
def test_release_for_other_pythons_does_not_raise(
    index: Index, tmp_path: Path, python: str
) -> None:
    """This includes upper bounds, which uv ignores."""
    index.add("pkg", "1.0", "2025-03-18T00:00:00Z", python=python)
    found = find(tmp_path, "1.0")
    assert isinstance(found, logged_program.Done)
    assert "Python" in " ".join(found.error_lines())


def test_missing_release_suggests_the_nearest_releases(index: Index, tmp_path: Path) -> None:
    for version in ("0.9", "1.0", "1.2", "2.0"):
        index.add("pkg", version, "2025-03-18T00:00:00Z")
    with pytest.raises(Failure, match=r"has no release 1\.1 of pkg") as told:
        find(tmp_path, "1.1")
    assert told.value.hint == "nearest: 1.0, 1.2" and told.value.page == 31


def test_missing_package_is_reported(index: Index, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="has no package named pkg"):
        find(tmp_path, "1.0")


def test_index_without_upload_times_is_reported(index: Index, tmp_path: Path) -> None:
    index.add("pkg", "1.0", None)
    with pytest.raises(Failure, match="no upload times") as told:
        find(tmp_path, "1.0")
    assert "cutoff" in told.value.hint
    assert str(told.value).endswith("\n  (docs/problems.md, P28)")


def test_unreachable_index_is_reported(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(Failure, match="cannot be reached"):
        find(tmp_path, "1.0")

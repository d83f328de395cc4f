"""A release's day and fitness, asked of a real index over HTTP by real uv."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import platform
import sys
import threading
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from benchy import release, uv
from benchy.errors import Failure

UTC = timezone.utc
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def wheel(name: str, version: str, python: str) -> bytes:
    """A wheel with no code in it."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{about}/METADATA", metadata + "\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return buffer.getvalue()


class Index:
    """A package index as PEP 691 and PEP 700 say, on a port of its own."""

    def __init__(self) -> None:
        self.projects: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send(index.answer(self.path))

            def send(self, answer: tuple[str, bytes] | None) -> None:
                self.send_response(200 if answer else 404)
                kind, body = answer or ("text/plain", b"")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def answer(self, path: str) -> tuple[str, bytes] | None:
        parts = path.strip("/").split("/")
        if parts[0] == "files" and parts[1] in self.files:
            return "application/octet-stream", self.files[parts[1]]
        if parts[0] == "simple" and len(parts) == 2 and parts[1] in self.projects:
            page = {"meta": {"api-version": "1.1"}, "name": parts[1]}
            body = json.dumps({**page, "files": self.projects[parts[1]]}).encode()
            return "application/vnd.pypi.simple.v1+json", body
        return None

    def add(self, name: str, version: str, uploaded: str | None, python: str = ">=3.8") -> None:
        for build in ("", "1-") if uploaded else ("",):  # two files: the later one's time counts
            file = f"{name}-{version}-{build}py3-none-any.whl"
            data = self.files[file] = wheel(name, version, python)
            about = {
                "filename": file,
                "url": f"../../files/{file}",
                "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
                "requires-python": python,
            }
            if uploaded:
                about["upload-time"] = uploaded.replace("T00", "T01") if build else uploaded
            self.projects.setdefault(name, []).append(about)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    index = Index()
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "UV_INDEX", "OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    yield index
    index.server.shutdown()


def find(tmp_path: Path, version: str) -> release.Release | uv.Done:
    return release.find("pkg", version, sys.executable, platform.python_version(), tmp_path / "log")


def test_the_latest_upload_counts(index: Index, tmp_path: Path) -> None:
    index.add("pkg", "1.0", "2025-03-18T00:22:25.922758Z")
    found = find(tmp_path, "1.0")
    assert isinstance(found, release.Release)
    assert found.uploaded == datetime(2025, 3, 18, 1, 22, 25, tzinfo=UTC)
    assert found.cutoff(7) == "2025-03-25T01:22:25Z"
    assert found.cutoff(0) == "2025-03-18T01:22:25Z"


@pytest.mark.parametrize("python", [">=3.99", ">=3.6,<3.10", ">=3.9,<3.10"])
def test_a_release_for_other_pythons_is_no_failure_yet(
    index: Index, tmp_path: Path, python: str
) -> None:
    """Upper bounds too, which uv passes over."""
    index.add("pkg", "1.0", "2025-03-18T00:00:00Z", python=python)
    found = find(tmp_path, "1.0")
    assert isinstance(found, uv.Done)
    assert "Python" in " ".join(found.telling())


def test_no_such_release_names_its_neighbours(index: Index, tmp_path: Path) -> None:
    for version in ("0.9", "1.0", "1.2", "2.0"):
        index.add("pkg", version, "2025-03-18T00:00:00Z")
    with pytest.raises(Failure, match=r"has no release 1\.1 of pkg") as told:
        find(tmp_path, "1.1")
    assert told.value.mend == "nearest: 1.0, 1.2"


def test_no_such_package(index: Index, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="has no package named pkg"):
        find(tmp_path, "1.0")


def test_an_index_without_upload_times_says_so(index: Index, tmp_path: Path) -> None:
    index.add("pkg", "1.0", None)
    with pytest.raises(Failure, match="no upload times") as told:
        find(tmp_path, "1.0")
    assert "cutoff" in told.value.mend


def test_an_index_that_is_away_is_told_as_that(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(Failure, match="cannot be reached"):
        find(tmp_path, "1.0")


MOMENTS = [
    ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
    ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
    ("P7D", NOW - timedelta(days=7)),
    ("PT24H", NOW - timedelta(days=1)),
    ("2 weeks", NOW - timedelta(days=14)),
    ("30 days", NOW - timedelta(days=30)),
    ("soon", None),
]


@pytest.mark.parametrize(("text", "expected"), MOMENTS)
def test_moments(text: str, expected: datetime | None) -> None:
    assert release.moment(text, NOW) == expected


EARLIER = [
    ("no machine cutoff", "2026-01-02T00:00:00Z", None, "2026-01-02T00:00:00Z"),
    ("the machine's alone", None, "P7D", "P7D"),
    ("neither", None, None, None),
    ("the release's is earlier", "2026-01-02T00:00:00Z", "P7D", "2026-01-02T00:00:00Z"),
    ("the machine's is earlier", "2026-01-02T00:00:00Z", "2025-12-01", "2025-12-01T00:00:00Z"),
    ("the machine's cannot be read", "2026-01-02T00:00:00Z", "soon", "2026-01-02T00:00:00Z"),
]


@pytest.mark.parametrize(
    ("cutoff", "machine", "expected"), [row[1:] for row in EARLIER], ids=[row[0] for row in EARLIER]
)
def test_the_earlier_cutoff_holds(
    cutoff: str | None, machine: str | None, expected: str | None
) -> None:
    assert release.earlier(cutoff, machine, NOW) == expected

"""A package index on loopback that follows PEP 691 and PEP 700."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
import zipfile
from base64 import b64encode
from collections.abc import Sequence
from typing import Any


def wheel(name: str, version: str, python: str, requires: Sequence[str] = ()) -> bytes:
    """Return a wheel that contains no code."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}"
    metadata += "".join(f"\nRequires-Dist: {requirement}" for requirement in requires)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{about}/METADATA", metadata + "\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return buffer.getvalue()


class Index:
    """A package index that follows PEP 691 and PEP 700, on a free port."""

    def __init__(self) -> None:
        self.projects: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.password = b""  # user:password; empty for no authentication
        self.asked: list[str] = []  # paths in order of request
        self.cut = ""  # only the first half of paths with this suffix is sent
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization", "")
                if index.password and given != f"Basic {b64encode(index.password).decode()}":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", "Basic")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send(index.answer(self.path))

            do_HEAD = do_GET

            def send(self, answer: tuple[str, bytes] | None) -> None:
                self.send_response(200 if answer else 404)
                kind, body = answer or ("text/plain", b"")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    cut = index.cut and self.path.endswith(index.cut)
                    self.wfile.write(body[: len(body) // 2] if cut else body)
                    self.close_connection = bool(cut)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str) -> tuple[str, bytes] | None:
        self.asked.append(path)
        parts = path.strip("/").split("/")
        if parts[0] == "files" and parts[1] in self.files:
            return "application/octet-stream", self.files[parts[1]]
        if parts[0] == "simple" and len(parts) == 2 and parts[1] in self.projects:
            page = {"meta": {"api-version": "1.1"}, "name": parts[1]}
            body = json.dumps({**page, "files": self.projects[parts[1]]}).encode()
            return "application/vnd.pypi.simple.v1+json", body
        return None

    def add(
        self,
        name: str,
        version: str,
        uploaded: str | None,
        python: str = ">=3.8",
        requires: Sequence[str] = (),
    ) -> None:
        """Add a release. A dated one has two files, of which the later upload time counts."""
        for build in ("", "1-") if uploaded else ("",):
            when = uploaded and (uploaded.replace("T00", "T01") if build else uploaded)
            file = f"{name}-{version}-{build}py3-none-any.whl"
            self.put(name, file, wheel(name, version, python, requires), when, python)

    def put(
        self, name: str, file: str, data: bytes, uploaded: str | None, python: str = ">=3.8"
    ) -> None:
        """Add a file to a project. uploaded: None if the index reports no upload time."""
        self.files[file] = data
        about = {
            "filename": file,
            "url": f"../../files/{file}",
            "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
            "requires-python": python,
        }
        if uploaded:
            about["upload-time"] = uploaded
        self.projects.setdefault(name, []).append(about)

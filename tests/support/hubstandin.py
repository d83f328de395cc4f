"""A model hub on loopback: the parts of the HTTP API that its client needs to download a model and
to upload to a dataset."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from benchy.environments import uv

COMMIT = "c0ffee" * 6 + "abcd"
CLIENTS = ("huggingface_hub>=1", "huggingface_hub<0.27")  # today's, and that of vLLM 0.6 to 0.7


def client_environment(folder: Path, requirement: str) -> Path:
    """Make an environment with only the hub's client. Skip the test if it cannot be installed."""
    words = ["venv", str(folder)], ["pip", "install", "--python", str(folder), requirement]
    for word in words:
        done = subprocess.run([uv.find(), *word], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no client of the hub can be installed here: {done.stderr[-300:]}")
    return folder


class Hub(ThreadingHTTPServer):
    """The server and its state.

    repositories: name → file → bytes. gated: name → the token it needs. asked: (method, path,
    Range) of each request. uploads: dataset → file → bytes; needs the token `writer`. break_after:
    cut the connection after this many bytes of the next larger download. down: answer 503.
    """

    daemon_threads = True

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.gated: dict[str, str] = {}
        self.uploads: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[str] = []
        self.writer = "hf_writer"
        self.asked: list[tuple[str, str, str]] = []
        self.break_after: int | None = None
        self.down = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def gets(self, file: str) -> list[str]:
        """Return the Range header of each download of a file."""
        return [r for method, path, r in self.asked if method == "GET" and path.endswith(file)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("_length", str(len(body))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, words: str) -> None:
        body = json.dumps({"error": words}).encode()
        self.answer(status, body, X_Error_Code=code, X_Error_Message=words)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        hub = self.server
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if hub.down:
            self.refuse(503, "", "maintenance")
            return
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+).*)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = api or file
        name = match[1] if match else ""
        if name not in hub.repositories:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if name in hub.gated and token != hub.gated[name]:
            self.refuse(403 if token else 401, "GatedRepo", f"Access to {name} is restricted")
            return
        assert match
        revision = (api[3] if api else match[2]) or "main"
        if revision not in ("main", "v1", COMMIT):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = hub.repositories[name]
        if api and api[2] == "tree":
            rows = [
                {"type": "file", "path": f, "size": len(b), "oid": oid(b)} for f, b in files.items()
            ]
            self.answer(200, json.dumps(rows).encode())
        elif api:
            told = {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [],
                    "gated": "manual" if name in hub.gated else False,
                    "siblings": [{"rfilename": f, "size": len(b)} for f, b in files.items()],
                    }  # fmt: skip
            self.answer(200, json.dumps(told).encode())
        elif file:
            self.download(files, file[3])

    def do_POST(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.asked.append((self.command, path, ""))
        if self.headers.get("Authorization") != f"Bearer {hub.writer}":
            self.refuse(401, "", "Invalid username or password.")
            return
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in hub.uploads:
                told = {
                    "error": "You already created this repo",
                    "url": f"{hub.url}/datasets/{name}",
                }
                self.answer(409, json.dumps(told).encode())
                return
            hub.uploads[name], hub.private[name] = (
                {},
                (asked.get("private") or asked.get("visibility") == "private"),
            )
            self.answer(200, json.dumps({"url": f"{hub.url}/datasets/{name}"}).encode())
        elif path == "/api/validate-yaml":
            self.answer(200, json.dumps({"errors": [], "warnings": []}).encode())
        elif match and match[2] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer(200, json.dumps({"files": files}).encode())
        elif match:
            for line in body.splitlines():
                told = json.loads(line)
                if told["key"] == "file":
                    data = base64.b64decode(told["value"]["content"])
                    hub.uploads[match[1]][told["value"]["path"]] = data
                else:
                    hub.commits.append(told["value"]["summary"])
            url = f"{hub.url}/datasets/{match[1]}/commit/{COMMIT}"
            answer = {"success": True, "commitOid": COMMIT, "commitUrl": url}
            self.answer(200, json.dumps(answer).encode())
        else:
            self.refuse(404, "", path)

    def download(self, files: dict[str, bytes], name: str) -> None:
        if name not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        data = files[name]
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{oid(data)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        until = len(data)
        if self.server.break_after is not None and len(data) > self.server.break_after:
            until, self.server.break_after = self.server.break_after, None
            self.close_connection = True
        self.wfile.write(data[start:until])
        self.wfile.flush()
        if self.close_connection:
            self.connection.close()


def oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()

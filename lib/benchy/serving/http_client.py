"""The HTTP client with which benchy asks an engine.

An engine may be broken or hostile, and a port may be a stranger's. So each connection is proved
before its first byte (peer.py), redirects are not followed, no proxy is asked, and an answer is
bounded in time and size whatever it does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchy.core.errors import printable
from benchy.serving import peer_check

LARGEST = 8 << 20  # bytes of an answer; the description of vLLM 0.32's interface is 0.4 MB
SHOWN = 200  # characters of an answer that a message shows
FAILED = (OSError, http.client.HTTPException)  # what ask() raises


class Connection(http.client.HTTPConnection):
    """Proved before it is used. wire: its socket, which the answer keeps when the base class has
    forgotten it."""

    wire: socket.socket | None = None

    def __init__(self, address: str, port: int, ours: peer_check.Ours, timeout: float) -> None:
        super().__init__(address, port, timeout=timeout)
        self.ours, self.seconds = ours, timeout

    def connect(self) -> None:
        super().connect()
        self.wire = self.sock
        try:
            peer_check.prove(self.sock, self.ours, self.seconds)
        except BaseException:
            self.close()
            raise


@dataclass(frozen=True)
class Client:
    """One server. address: numeric; ours: the processes that may answer there."""

    address: str
    port: int
    key: str = field(repr=False)
    ours: peer_check.Ours = field(repr=False)

    def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        timeout: float = 10,
    ) -> tuple[int, Any]:
        """Status and JSON (text if it is none) of GET path, or of POST with a body.

        key: instead of ours; "" for none. timeout: seconds for all of it. Raises FAILED: among them
        peer.Unproved, if not ours answers.
        """
        key = self.key if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        sent = None if body is None else json.dumps(body).encode()
        connection = Connection(self.address, self.port, self.ours, timeout)
        late = threading.Event()

        def cut() -> None:
            """Of an answer that drips, each byte is in time, and the last one never comes."""
            late.set()
            if connection.wire:
                with contextlib.suppress(OSError):  # over just now
                    connection.wire.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(timeout, cut)
        timer.daemon = True
        timer.start()
        try:
            connection.request("GET" if sent is None else "POST", path, sent, headers)
            answer = connection.getresponse()
            data = answer.read(LARGEST + 1)
            left = answer.length
        except FAILED:
            if late.is_set():
                raise TimeoutError(f"no whole answer within {timeout:g} s") from None
            raise
        finally:
            timer.cancel()
            connection.close()
        if late.is_set():
            raise TimeoutError(f"no whole answer within {timeout:g} s")
        if len(data) > LARGEST:
            raise http.client.HTTPException(f"an answer of more than {LARGEST >> 20} MiB")
        if left:
            raise http.client.IncompleteRead(data[:SHOWN], left)
        return answer.status, _parsed(data)


def _parsed(data: bytes) -> Any:
    text = data.decode(errors="replace")
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):  # cut, no JSON, or nested beyond all use
        return text


def shown(answer: object, most: int = SHOWN) -> str:
    """What an engine said, as a message may show it: short, in one line, with nothing that moves a
    terminal."""
    return printable(str(answer)[: most + 1])[:most]

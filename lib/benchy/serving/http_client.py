"""The HTTP client for engine servers.

An engine may be broken or hostile, and a stranger may listen on its port. The client proves the
peer of each connection before it sends the first byte (peer_check.py). It follows no redirects,
uses no proxy, and limits the time and the size of every response.
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

LARGEST = 8 << 20  # bytes of a response; /openapi.json of vLLM 0.32 has 0.4 MB
SHOWN = 200  # characters of a response that a message shows
FAILED = (OSError, http.client.HTTPException)  # what ask() raises


class Connection(http.client.HTTPConnection):
    """A connection that proves its peer before use.

    `wire` is its socket. The base class drops its reference while a response still reads from it.
    """

    wire: socket.socket | None = None

    def __init__(
        self, address: str, port: int, own: peer_check.OwnProcesses, timeout: float
    ) -> None:
        super().__init__(address, port, timeout=timeout)
        self.own, self.seconds = own, timeout

    def connect(self) -> None:
        super().connect()
        self.wire = self.sock
        try:
            peer_check.prove(self.sock, self.own, self.seconds)
        except BaseException:
            self.close()
            raise


@dataclass(frozen=True)
class Client:
    """A client of one server.

    Attributes:
        address: Numeric address of the server.
        port: Port of the server.
        key: API key, sent with each request.
        own: The processes that may answer.
    """

    address: str
    port: int
    key: str = field(repr=False)
    own: peer_check.OwnProcesses = field(repr=False)

    def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        timeout: float = 10,
    ) -> tuple[int, Any]:
        """Send GET `path`, or POST if there is a body.

        Args:
            path: Path of the URL.
            body: JSON object to post.
            key: Replaces the client's API key; "" sends none.
            timeout: Seconds for the whole exchange.

        Returns:
            The status and the parsed JSON, or the text if the response is not JSON.

        Raises:
            FAILED: The request failed. Includes `peer_check.Unproved`: another process answers.
        """
        key = self.key if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        sent = None if body is None else json.dumps(body).encode()
        connection = Connection(self.address, self.port, self.own, timeout)
        late = threading.Event()

        def cut() -> None:
            """Shut the connection down. A socket's timeout restarts with each byte it receives."""
            late.set()
            if connection.wire:
                with contextlib.suppress(OSError):  # already closed
                    connection.wire.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(timeout, cut)
        timer.daemon = True
        timer.start()
        try:
            connection.request("GET" if sent is None else "POST", path, sent, headers)
            answer = connection.getresponse()
            data = answer.read(LARGEST + 1)
            missing = answer.length  # bytes
        except FAILED:
            if late.is_set():
                raise TimeoutError(f"no complete answer within {timeout:g} s") from None
            raise
        finally:
            timer.cancel()
            connection.close()
        if late.is_set():
            raise TimeoutError(f"no complete answer within {timeout:g} s")
        if len(data) > LARGEST:
            raise http.client.HTTPException(f"an answer of more than {LARGEST >> 20} MiB")
        if missing:
            raise http.client.IncompleteRead(data[:SHOWN], missing)
        return answer.status, _parsed(data)


def _parsed(data: bytes) -> Any:
    text = data.decode(errors="replace")
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):  # truncated, not JSON, or nested too deeply
        return text


def shown(answer: object, most: int = SHOWN) -> str:
    """Return part of a response for a message: short, on one line, without control characters."""
    return printable(str(answer)[: most + 1])[:most]

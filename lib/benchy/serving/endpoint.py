"""Address and HTTP client of an engine server."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchy.process import guardian
from benchy.serving import http_client, peer_check


@dataclass(frozen=True)
class Endpoint:
    """The address of a server.

    Attributes:
        host: Address that the server listens on.
        port: Port that the server listens on.
        key: API key of the server.
        guardian: Pid of the guardian. Only its descendants may answer.
        pinned: Whether the config sets the port.
    """

    host: str
    port: int
    key: str = field(repr=False)
    guardian: int
    pinned: bool = False

    @property
    def address(self) -> str:
        # A name can resolve to two addresses, and a stranger may listen on the other one.
        known = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1", "localhost": "127.0.0.1"}  # noqa: S104
        return known.get(self.host, self.host)

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"

    @functools.cached_property
    def client(self) -> http_client.Client:
        own = peer_check.OwnProcesses(lambda: guardian.descendants(self.guardian))
        return http_client.Client(self.address, self.port, self.key, own)

    def ask(self, path: str, body: Mapping[str, Any] | None = None, **how: Any) -> tuple[int, Any]:
        """Send a request to this server. See `Client.ask`."""
        return self.client.ask(path, body, **how)


def loopback(host: str) -> bool:
    """Return whether a server that listens on `host` is reachable only from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

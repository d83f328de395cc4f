"""Patches a process so that its sockets send to a server only after its peer is proved.

harness_wrapper.py loads this file and peer_check.py in the harness's environment, so it uses only
the standard library.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from benchy.serving.peer_check import OwnProcesses

SENDING = ("send", "sendall", "sendmsg", "sendto")


def watch(peer_check: ModuleType, address: str, port: int, own: OwnProcesses) -> None:
    """Patch this process so that no socket sends to address:port before its peer is proved.

    Covers asyncio's sockets too. The patched calls raise an OSError, as a failed connection does.

    Args:
        peer_check: The module of that name. This file cannot import it in the harness's process.
        address: Address of the server.
        port: Port of the server.
        own: The processes that may answer.
    """
    target = peer_check.numeric(address)
    unproved: weakref.WeakSet[socket.socket] = weakref.WeakSet()
    kind: Any = socket.socket
    plain = {name: getattr(kind, name) for name in ("connect", "connect_ex", *SENDING)}

    def to_server(where: Any) -> bool:
        if not isinstance(where, tuple) or where[1] != port:
            return False
        try:
            place = peer_check.numeric(where[0])
        except ValueError:
            return bool(where[0] == "localhost")
        return bool(place == target or place.is_loopback or place.is_unspecified)

    def prove_now(sock: socket.socket) -> None:
        peer_check.prove(sock, own, sock.gettimeout() or None)
        unproved.discard(sock)

    def connecting(name: str) -> Callable[..., Any]:
        @functools.wraps(plain[name])
        def connect(self: socket.socket, where: Any) -> Any:
            if self.family not in (socket.AF_INET, socket.AF_INET6) or not to_server(where):
                return plain[name](self, where)
            unproved.add(self)
            done = plain[name](self, where)
            if not done and self.gettimeout() != 0:
                prove_now(self)
            return done

        return connect

    def sending(name: str) -> Callable[..., Any]:
        @functools.wraps(plain[name])
        def send(self: socket.socket, *args: Any, **more: Any) -> Any:
            if self in unproved:
                prove_now(self)
            return plain[name](self, *args, **more)

        return send

    for name in ("connect", "connect_ex"):
        setattr(kind, name, connecting(name))
    for name in SENDING:
        setattr(kind, name, sending(name))
    loop: Any = asyncio.selector_events.BaseSelectorEventLoop
    connect = loop.sock_connect

    async def sock_connect(self: Any, sock: socket.socket, where: Any) -> None:
        await connect(self, sock, where)
        if sock in unproved:
            for pause in peer_check.steps(sock, own, peer_check.WAIT):
                await asyncio.sleep(pause)
            unproved.discard(sock)

    loop.sock_connect = sock_connect

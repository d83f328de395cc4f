"""The port of a server: the one that its config pins, or a free one.

A lease, like that of a device, gives a pinned port to one server at a time. vLLM binds the port
when it starts and listens minutes later, in most releases since 0.8 with SO_REUSEPORT, so two
servers that found it free would share its connections. benchy does not wait for a port: ports
change no result, and a provider may pin one for models that run side by side.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from benchy.core.errors import Failure
from benchy.core.specs import ServerSpec
from benchy.devices import leases
from benchy.display.messages import say


@dataclass(frozen=True)
class Port:
    """A port for a server.

    pinned: whether the config names it. descriptors: they hold the lease on it.
    """

    number: int
    pinned: bool = False
    descriptors: tuple[int, ...] = ()


@contextmanager
def taken(
    spec: ServerSpec, owner: Mapping[str, Any], desk: leases.LeaseDirectory
) -> Iterator[Port]:
    """Yield a port for the server of this spec, leased while inside if it is pinned.

    A process that inherits its descriptors keeps the lease after this process ends. Prints a
    message if another server of this user has the pinned port. Raises Failure if another program
    has it.
    """
    host, pinned = spec["host"], spec["port"]
    if not pinned:
        yield Port(free_port(host, None))
        return
    name = f"port-{pinned}"
    held = desk.at_once(leases.LeaseRequest(1, (name,), owner))
    if not held:
        other = desk.holders([name]).get(name, {})
        port = free_port(host, None)
        who = f"{other.get('model', 'another server')} (pid {other.get('pid', '?')})"
        say("PORT", f"{spec['model']}: port {pinned} is used by {who}; it uses port {port}")
        yield Port(port)
        return
    try:
        yield Port(free_port(host, pinned), True, held.descriptors)
    finally:
        held.release()


def free_port(host: str, port: int | None) -> int:
    """Return `port`, or a free port if it is None. Raises Failure if `port` is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port or 0))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port:
                raise Failure(
                    f"port {port} is used by {listener(port)}",
                    "remove `port`, so that benchy picks a free one, or end that process",
                ) from None
            raise Failure(f"can't listen on {host}:{port or 0}: {error.strerror}") from None
        return int(probe.getsockname()[1])


def listeners(port: int) -> set[int | None]:
    """Return the pids that listen on this TCP port; None stands for a process of another user."""
    return {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr[1] == port
    }


def listener(port: int, ours: frozenset[int] = frozenset()) -> str:
    """Describe the process that listens on a port. ours: pids that do not count."""
    for pid in listeners(port) - ours:
        if pid:
            try:
                command = " ".join(psutil.Process(pid).cmdline())[:80]
            except psutil.Error:
                command = "?"
            return f"pid {pid} ({command})"
    return "a process of another user"

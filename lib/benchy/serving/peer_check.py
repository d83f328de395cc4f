"""Who is at the other end of a connection: the server of this run, or a stranger.

A port that was free a moment ago may be anybody's: while an engine starts, another user can bind
it, listen, and let go again. So each new connection is proved between connect() and its first byte.
The kernel knows the socket at the other end by its two addresses and ports, which nobody can share
as long as ours is open; its inode is held by the process that accepted the connection, and that has
to be a descendant of our guardian. Before it is accepted the inode is 0; then the proof waits, as
the answer would.

The kernel is asked through sock_diag(7), 0.01 ms; where that is not to be had its tables are read
(/proc/net/tcp, /proc/net/tcp6), 5 ms and more. This works where both ends are in one network
namespace of one machine, as benchy starts them. What can't be seen is refused: see Unseen.

Standard library only: harness_wrapper.py loads this file in the harness's own environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import os
import socket
import struct
import sys
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from typing import Any

TABLES = {4: "/proc/net/tcp", 6: "/proc/net/tcp6"}
DIAG, BY_FAMILY, REQUEST = 4, 20, 1  # linux/netlink.h, linux/sock_diag.h
ESTABLISHED, SYN_RECEIVED, LISTEN = b"01", b"03", b"0A"  # linux/tcp_states.h
WAIT = 300.0  # seconds until a connection is accepted, where the caller names no time
PATIENCE = 0.05  # seconds for accepting it before the listener is looked at
MISSES = 20  # looks at a table that changes while it is read, before what it lacks is not there
SENDING = ("send", "sendall", "sendmsg", "sendto")


class Unproved(ConnectionError):
    """The other end of a connection is not proved to be ours. Nothing was sent."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.ECONNREFUSED, what)  # aiohttp tells an error by these two

    def __str__(self) -> str:
        return str(self.strerror)


class Stranger(Unproved):
    """Somebody else's process is at the other end."""


class Unseen(Unproved):
    """The kernel's tables do not show who is at the other end."""


class Ours:
    """The processes that may answer. pids: gives those alive at the moment."""

    def __init__(self, pids: Callable[[], Collection[int]]) -> None:
        self.pids = pids
        self.last: tuple[int, bytes] | None = None  # pid and start of the one that was found last
        self.closed: set[int] = set()  # pids whose files we might not see at the last look

    def hold(self, inodes: Collection[bytes]) -> bool:
        """Does one of them hold one of these sockets?"""
        wanted = {f"socket:[{inode.decode()}]" for inode in inodes}
        # Once a descendant, always one; the pid may be another process's by now.
        if self.last and _begun(self.last[0]) == self.last[1] and self._has(self.last[0], wanted):
            return True
        self.closed.clear()
        for pid in self.pids():
            if self._has(pid, wanted):
                self.last = (pid, _begun(pid))
                return True
        return False

    def _has(self, pid: int, wanted: Collection[str]) -> bool:
        folder = f"/proc/{pid}/fd"
        try:
            for name in os.listdir(folder):  # noqa: PTH208 - strings, thousands of times
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(f"{folder}/{name}") in wanted:  # noqa: PTH115
                        return True
        except PermissionError:
            self.closed.add(pid)
        except OSError:
            pass  # it has ended
        return False


def _begun(pid: int) -> bytes:
    """When a process began, in the kernel's clock ticks; b"" if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return b""


def numeric(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address of getpeername(); one of IPv4 in the clothes of IPv6 is IPv4. Raises ValueError
    for a name."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def _written(address: str, port: int) -> dict[int, bytes]:
    """Address and port as the tables write them. A socket of IPv6 may carry IPv4."""
    here = numeric(address)
    forms = {here.version: here.packed}
    if here.version == 4:
        forms[6] = bytes(10) + b"\xff\xff" + here.packed
    return {
        version: b"".join(
            b"%08X" % int.from_bytes(raw[at : at + 4], sys.byteorder)
            for at in range(0, len(raw), 4)
        )
        + b":%04X" % port
        for version, raw in forms.items()
    }


def _table(version: int) -> bytes:
    """Raises Unseen if it can't be read, but for tcp6, which a kernel may lack."""
    try:
        with open(TABLES[version], "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        if version == 6:
            return b""
        raise Unseen(f"{TABLES[version]} can't be read: {error.strerror}") from None


def diagnosed(local: tuple[str, int], remote: tuple[str, int]) -> tuple[bytes, bytes, bytes] | None:
    """entry() by sock_diag(7), one message each way (linux/inet_diag.h: inet_diag_req_v2,
    inet_diag_msg). None also where the kernel can't be asked so."""
    here, there = numeric(local[0]), numeric(remote[0])
    ports = struct.pack("!HH", local[1], remote[1])
    ends = ports + here.packed.ljust(16, b"\0") + there.packed.ljust(16, b"\0")
    family = socket.AF_INET if here.version == 4 else socket.AF_INET6
    asked = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends
    asked += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, no cookie
    head = struct.pack("=IHHII", 16 + len(asked), BY_FAMILY, REQUEST, 1, 0)
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, DIAG
        ) as kernel:
            kernel.settimeout(1)
            kernel.send(head + asked)
            told, (sender, _) = kernel.recvfrom(8192)
    except OSError:
        return None
    # Of ends that nobody has, the kernel names the listener.
    if sender or struct.unpack_from("=H", told, 4)[0] != BY_FAMILY or told[20:24] != ports:
        return None
    uid, inode = struct.unpack_from("=II", told, 80)
    return b"%02X" % told[17], b"%d" % uid, b"%d" % inode


def entry(local: tuple[str, int], remote: tuple[str, int]) -> tuple[bytes, bytes, bytes] | None:
    """State, uid and inode of the socket with these ends, None if there is none. Raises Unseen."""
    found = diagnosed(local, remote)
    if found or diagnosed(remote, local):  # which is ours, and there
        return found
    ends = _written(*remote)
    for version, end in _written(*local).items():
        table = _table(version)
        at = table.find(b": %s %s " % (end, ends[version]))
        if at >= 0:
            words = table[at : table.find(b"\n", at)].split()
            return words[3], words[7], words[9]
    return None


def listening(address: str, port: int) -> dict[bytes, int]:
    """The sockets that take connections to this address: inode → uid of the owner."""
    found = {}
    ends = {end for place in (address, "0.0.0.0", "::") for end in _written(place, port).values()}  # noqa: S104
    for version in TABLES:
        for line in _table(version).splitlines()[1:]:
            words = line.split()
            if words[3] == LISTEN and words[1] in ends:
                found[words[9]] = int(words[7])
    return found


def steps(sock: socket.socket, ours: Ours, seconds: float) -> Iterator[float]:
    """The pauses, in seconds, between two looks at who is at the other end; over once that is
    proved to be ours. Raises Unproved, ConnectionError, TimeoutError after so many seconds."""
    here, there = sock.getsockname()[:2], sock.getpeername()[:2]
    if here == there:  # the kernel gave us the very port, and TCP lets a socket meet itself
        raise ConnectionRefusedError(f"nobody listens on port {there[1]}")
    begun = time.monotonic()
    end, pause, missing, ask = begun + seconds, 0.0001, 0, begun + PATIENCE
    while True:
        found = entry(there, here)
        if found and found[2] != b"0":
            if ours.hold([found[2]]):
                return
            raise _stranger(there, int(found[1]), ours)
        if found and found[0] not in (ESTABLISHED, SYN_RECEIVED):
            raise ConnectionResetError(f"port {there[1]} closed the connection at once")
        now = time.monotonic()
        if not found:
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != int(ESTABLISHED):
                raise ConnectionResetError(f"port {there[1]} closed the connection at once")
            missing += 1
            if missing >= MISSES:
                raise _missing(here, there)
        elif now > ask:  # in the queue of whom?
            ask = now + 1
            queues = listening(*there)
            if queues and not ours.hold(queues):
                raise _stranger(there, next(iter(queues.values())), ours)
        if now > end:
            raise TimeoutError(f"port {there[1]} did not accept a connection for {seconds:g} s")
        yield pause
        pause = min(pause * 1.5, 0.05)


def _stranger(there: tuple[str, int], uid: int, ours: Ours) -> Unproved:
    what = f"port {there[1]} is answered by a process of uid {uid}, not of this run"
    if ours.closed:
        return Unseen(f"{what}, as far as can be seen: /proc/{min(ours.closed)}/fd can't be read")
    return Stranger(what)


def _missing(here: tuple[str, int], there: tuple[str, int]) -> Unseen:
    what = "the other end of a" if entry(here, there) else "this process's own"
    return Unseen(f"the kernel does not show {what} connection: another network namespace?")


def prove(sock: socket.socket, ours: Ours, seconds: float | None = None) -> None:
    """Return once the other end of a connected socket is proved to be ours; see steps()."""
    for pause in steps(sock, ours, WAIT if seconds is None else seconds):
        time.sleep(pause)


def watch_sockets(address: str, port: int, ours: Ours) -> None:
    """From now on no socket of this process, of asyncio's either, sends anything to address:port
    before the other end is proved. What they raise is an OSError, as of a failed connection."""
    target = numeric(address)
    unproved: weakref.WeakSet[socket.socket] = weakref.WeakSet()
    kind: Any = socket.socket
    plain = {name: getattr(kind, name) for name in ("connect", "connect_ex", *SENDING)}

    def aimed(where: Any) -> bool:
        if not isinstance(where, tuple) or where[1] != port:
            return False
        try:
            place = numeric(where[0])
        except ValueError:
            return bool(where[0] == "localhost")
        return place == target or place.is_loopback or place.is_unspecified

    def prove_now(sock: socket.socket) -> None:
        prove(sock, ours, sock.gettimeout() or None)
        unproved.discard(sock)

    def connecting(name: str) -> Callable[..., Any]:
        @functools.wraps(plain[name])
        def connect(self: socket.socket, where: Any) -> Any:
            if self.family not in (socket.AF_INET, socket.AF_INET6) or not aimed(where):
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
            for pause in steps(sock, ours, WAIT):
                await asyncio.sleep(pause)
            unproved.discard(sock)

    loop.sock_connect = sock_connect

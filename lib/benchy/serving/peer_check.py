"""Proves that the peer of a connection is the server of this run.

A port that was free a moment ago can belong to any process: while an engine starts, another user
can bind it, listen on it, and release it. So each new connection is proved after connect() and
before its first byte. The kernel identifies the peer's socket by its two addresses and ports, which
no other socket can have while ours is open. The process that accepted the connection holds the
inode of that socket, and has to be a descendant of our guardian. The inode is 0 until the
connection is accepted; the proof waits for that, as the response would.

The check asks the kernel through sock_diag(7), which takes 0.01 ms. If sock_diag is not available,
it reads /proc/net/tcp and /proc/net/tcp6, which takes 5 ms or more. It requires both ends to be in
one network namespace of one machine, where benchy starts them. A peer that cannot be identified is
refused (`Unseen`).

Uses only the standard library: harness_wrapper.py loads this file in the harness's environment.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Collection, Iterator

TABLES = {4: "/proc/net/tcp", 6: "/proc/net/tcp6"}
DIAG, BY_FAMILY, REQUEST = 4, 20, 1  # linux/netlink.h, linux/sock_diag.h
ESTABLISHED, SYN_RECEIVED, LISTEN = b"01", b"03", b"0A"  # linux/tcp_states.h
WAIT = 300.0  # default seconds until a connection has to be accepted
PATIENCE = 0.05  # seconds to wait for the accept before the listener is checked
MISSES = 20  # failed lookups before a socket counts as missing; tables change during a read


class Unproved(ConnectionError):
    """The peer of a connection is not proved to be ours. Nothing was sent."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.ECONNREFUSED, what)  # aiohttp reports an error by these two

    def __str__(self) -> str:
        return str(self.strerror)


class Stranger(Unproved):
    """The peer is a process that does not belong to this run."""


class Unseen(Unproved):
    """The kernel does not show which process the peer is."""


class OwnProcesses:
    """The processes that may answer. `pids` returns those that are alive."""

    def __init__(self, pids: Callable[[], Collection[int]]) -> None:
        self.pids = pids
        self.last: tuple[int, bytes] | None = None  # pid and start time of the last match
        self.closed: set[int] = set()  # pids with unreadable files in the last search

    def hold(self, inodes: Collection[bytes]) -> bool:
        """Return whether one of the processes holds one of these sockets."""
        links = {f"socket:[{inode.decode()}]" for inode in inodes}
        # A descendant stays one. The start time shows whether the pid was reused.
        if self.last and _begun(self.last[0]) == self.last[1] and self._has(self.last[0], links):
            return True
        self.closed.clear()
        for pid in self.pids():
            if self._has(pid, links):
                self.last = (pid, _begun(pid))
                return True
        return False

    def _has(self, pid: int, links: Collection[str]) -> bool:
        folder = f"/proc/{pid}/fd"
        try:
            for name in os.listdir(folder):  # noqa: PTH208 - called thousands of times, needs only strings
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(f"{folder}/{name}") in links:  # noqa: PTH115
                        return True
        except PermissionError:
            self.closed.add(pid)
        except OSError:
            pass  # the process has ended
        return False


def _begun(pid: int) -> bytes:
    """Return the start time of a process in clock ticks, or b"" if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return b""


def numeric(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address from getpeername(), with IPv4-mapped IPv6 addresses as IPv4.

    Raises ValueError for a host name.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _written(address: str, port: int) -> dict[int, bytes]:
    """Return IP version → address and port in the format of that version's kernel table.

    An IPv4 address has both entries, since an IPv6 socket can carry IPv4.
    """
    ip = numeric(address)
    forms = {ip.version: ip.packed}
    if ip.version == 4:
        forms[6] = bytes(10) + b"\xff\xff" + ip.packed
    return {
        version: b"".join(
            b"%08X" % int.from_bytes(raw[at : at + 4], sys.byteorder)
            for at in range(0, len(raw), 4)
        )
        + b":%04X" % port
        for version, raw in forms.items()
    }


def _table(version: int) -> bytes:
    """Return the kernel's table of TCP sockets.

    Raises Unseen if the table cannot be read. An unreadable tcp6 is empty: a kernel may lack IPv6.
    """
    try:
        with open(TABLES[version], "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        if version == 6:
            return b""
        raise Unseen(f"{TABLES[version]} can't be read: {error.strerror}") from None


def diagnosed(local: tuple[str, int], remote: tuple[str, int]) -> tuple[bytes, bytes, bytes] | None:
    """Return what `entry` returns, from sock_diag(7) with one message each way.

    Returns None if there is no such socket or the kernel does not support the request. Formats:
    inet_diag_req_v2 and inet_diag_msg in linux/inet_diag.h.
    """
    local_ip, remote_ip = numeric(local[0]), numeric(remote[0])
    ports = struct.pack("!HH", local[1], remote[1])
    ends = ports + local_ip.packed.ljust(16, b"\0") + remote_ip.packed.ljust(16, b"\0")
    family = socket.AF_INET if local_ip.version == 4 else socket.AF_INET6
    request = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends
    request += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, no cookie
    head = struct.pack("=IHHII", 16 + len(request), BY_FAMILY, REQUEST, 1, 0)
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, DIAG
        ) as kernel:
            kernel.settimeout(1)
            kernel.send(head + request)
            reply, (sender, _) = kernel.recvfrom(8192)
    except OSError:
        return None
    # If no socket has these ends, the kernel returns the listener.
    if sender or struct.unpack_from("=H", reply, 4)[0] != BY_FAMILY or reply[20:24] != ports:
        return None
    uid, inode = struct.unpack_from("=II", reply, 80)
    return b"%02X" % reply[17], b"%d" % uid, b"%d" % inode


def entry(local: tuple[str, int], remote: tuple[str, int]) -> tuple[bytes, bytes, bytes] | None:
    """Return the state, uid and inode of the socket with these ends, or None if there is none.

    Raises Unseen if the kernel's tables cannot be read.
    """
    info = diagnosed(local, remote)
    if info or diagnosed(remote, local):  # our own socket: sock_diag works
        return info
    ends = _written(*remote)
    for version, end in _written(*local).items():
        table = _table(version)
        at = table.find(b": %s %s " % (end, ends[version]))
        if at >= 0:
            words = table[at : table.find(b"\n", at)].split()
            return words[3], words[7], words[9]
    return None


def listening(address: str, port: int) -> dict[bytes, int]:
    """Return the sockets that accept connections to this address: inode → uid of the owner."""
    owners = {}
    ends = {end for place in (address, "0.0.0.0", "::") for end in _written(place, port).values()}  # noqa: S104
    for version in TABLES:
        for line in _table(version).splitlines()[1:]:
            words = line.split()
            if words[3] == LISTEN and words[1] in ends:
                owners[words[9]] = int(words[7])
    return owners


def steps(sock: socket.socket, own: OwnProcesses, seconds: float) -> Iterator[float]:
    """Yield the seconds to wait before the next look at the peer, until it is proved to be ours.

    Args:
        sock: A connected socket.
        own: The processes that may answer.
        seconds: Time limit.

    Raises:
        Unproved: The peer is not ours, or cannot be identified.
        ConnectionError: Nobody listens on the port, or the peer closed the connection.
        TimeoutError: The connection was not accepted within the time limit.
    """
    local, remote = sock.getsockname()[:2], sock.getpeername()[:2]
    if local == remote:  # TCP allows self-connect, and we got this port
        raise ConnectionRefusedError(f"nobody listens on port {remote[1]}")
    begun = time.monotonic()
    end, pause, missing, ask = begun + seconds, 0.0001, 0, begun + PATIENCE
    while True:
        peer = entry(remote, local)
        if peer and peer[2] != b"0":
            if own.hold([peer[2]]):
                return
            raise _stranger(remote, int(peer[1]), own)
        if peer and peer[0] not in (ESTABLISHED, SYN_RECEIVED):
            raise ConnectionResetError(f"port {remote[1]} closed the connection immediately")
        now = time.monotonic()
        if not peer:
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != int(ESTABLISHED):
                raise ConnectionResetError(f"port {remote[1]} closed the connection immediately")
            missing += 1
            if missing >= MISSES:
                raise _missing(local, remote)
        elif now > ask:  # not accepted yet: check the listener
            ask = now + 1
            queues = listening(*remote)
            if queues and not own.hold(queues):
                raise _stranger(remote, next(iter(queues.values())), own)
        if now > end:
            raise TimeoutError(f"port {remote[1]} did not accept a connection for {seconds:g} s")
        yield pause
        pause = min(pause * 1.5, 0.05)


def _stranger(remote: tuple[str, int], uid: int, own: OwnProcesses) -> Unproved:
    what = f"port {remote[1]} is answered by a process of uid {uid}, not of this run"
    if own.closed:
        return Unseen(f"{what}, as far as can be seen: /proc/{min(own.closed)}/fd can't be read")
    return Stranger(what)


def _missing(local: tuple[str, int], remote: tuple[str, int]) -> Unseen:
    what = "the other end of a" if entry(local, remote) else "this process's own"
    return Unseen(f"the kernel does not show {what} connection: another network namespace?")


def prove(sock: socket.socket, own: OwnProcesses, seconds: float | None = None) -> None:
    """Return once the peer of a connected socket is proved to be ours. Raises as `steps` does."""
    for pause in steps(sock, own, WAIT if seconds is None else seconds):
        time.sleep(pause)

"""Leases: one GPU for one server, across all `make` runs and checkouts of a user on a host.

All files are in one directory per user and host: below $BENCHY_LEASES, or below /tmp/benchy-UID.

- `gpu-…` and `cpu-…`: the holder of the exclusive flock on the file has that device. The kernel
  frees it when the last process with the descriptor ends, so no lease outlives its holder.
- `ticket-…`: a waiter and what it wants. It holds the flock on its ticket while it waits. Tickets
  are served in order. Each reserves the free devices that it could use, so that models that want
  one GPU do not starve a model that wants four. Waiters that want other devices overtake it, and
  all do while its process is stopped (Ctrl-Z).
- `mutex`: held while tickets are read and devices are taken, so that several devices are taken
  together or not at all.

Waiters sleep in inotify. The kernel reports when a holder's descriptor is closed, also by its
death.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.core import hashing, process_info, temporary_files
from benchy.core.errors import about
from benchy.devices import lock_files

INSCRIBED = 512  # bytes
CPU = "cpu-"  # beginning of the names of CPU slots
FOREIGN = "strangers"  # file with the foreign programs that a waiter saw last
TMP = Path("/tmp")  # noqa: S108 - the directory in it is checked
FOREIGN_PAUSE = 5.0  # seconds between checks for foreign processes
SECOND_LOOK = 1.0  # seconds; memory of a server that has just ended may still be reported


def directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Return this user's lease directory on this host and make it. Raises Failure."""
    if given := environment.get("BENCHY_LEASES"):
        base = Path(given)
    else:
        # The same path for every login: cron, su and ssh set different variables, and a job
        # has its own TMPDIR.
        base = TMP / f"benchy-{os.getuid()}"
        temporary_files.private(base, "set BENCHY_LEASES to another directory")
    path = base / (re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) or "host")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@dataclass(frozen=True)
class LeaseRequest:
    """A request of one server for devices.

    count: number of devices. pool: names of usable devices, in order of preference. owner: what
    waiters see of the holder: model, pid, root (the checkout).
    """

    count: int
    pool: tuple[str, ...]
    owner: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lease:
    """Held devices, in the order of the pool, and the descriptors that hold them."""

    devices: tuple[str, ...]
    descriptors: tuple[int, ...]

    def inscribe(self, owner: Mapping[str, Any]) -> None:
        """Write the owner into the lock files, for processes that wait."""
        since = datetime.datetime.now().strftime("%H:%M")
        # One write of a fixed length, so that readers see either the old text or the new one.
        text = json.dumps({**owner, "since": since}).encode().ljust(INSCRIBED)
        for descriptor in self.descriptors:
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))

    def release(self) -> None:
        """Close this process's descriptors.

        The devices are free when every other holder has closed its descriptors too.
        """
        for descriptor in self.descriptors:
            os.close(descriptor)


@contextmanager
def released_on_error(granted: Mapping[str, Lease]) -> Iterator[None]:
    """Release these leases if the block fails: nobody else has their descriptors."""
    try:
        yield
    except BaseException:
        for lease in granted.values():
            lease.release()
        raise


def _ticket(want: LeaseRequest) -> bytes:
    return json.dumps({"count": want.count, "pool": list(want.pool), **want.owner}).encode()


def shares(
    requests: Sequence[LeaseRequest], held: Set[str], foreign: Set[str]
) -> list[tuple[str, ...]]:
    """Return which free devices each request gets or reserves, in the order of its pool.

    A request that gets its full count can be granted.

    Args:
        requests: All requests in the line, oldest first.
        held: Devices that are leased.
        foreign: Devices that foreign programs use.
    """
    demand = Counter(device for request in requests for device in request.pool)
    # A program on a device that benchy has leased is not foreign.
    usable = {device for device in demand if device in held or device not in foreign}
    free = usable - held
    shared: list[tuple[str, ...]] = []
    for request in requests:
        if not free or len(usable.intersection(request.pool)) < request.count:
            # It waits for a foreign program, maybe for days, so it reserves nothing.
            shared.append(())
            continue
        # Prefer devices that fewest others can use, so that a pinned request is not blocked.
        usable_here = sorted((d for d in request.pool if d in free), key=lambda d: demand[d])
        taken = set(usable_here[: request.count])
        free -= taken
        shared.append(tuple(device for device in request.pool if device in taken))
    return shared


class LeaseDirectory:
    """The directory of leases. Used by one waiter at a time in this process."""

    def __init__(self, path: Path, foreign: Callable[[], Mapping[str, str]] = dict) -> None:
        """Use the leases in `path`.

        foreign: returns the devices in use, device → words about the user. It may be slow: it is
        called only if a lease would be granted otherwise, or devices are idle.
        """
        self.path, self.foreign = path, foreign

    def file(self, device: str) -> Path:
        """Return the lock file of a device."""
        if re.fullmatch(r"[A-Za-z0-9._-]{1,80}", device):
            return self.path / device
        return self.path / f"device-{hashing.of_text(device)[:16]}"

    @contextmanager
    def mutex(self) -> Iterator[None]:
        """Hold the directory's mutex."""
        descriptor = lock_files.opened(self.path / "mutex", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def issue(self, want: LeaseRequest) -> tuple[str, int]:
        """Make a ticket. Return its name and the descriptor that keeps it valid."""
        with self.mutex():
            last = max(self.names(), default="ticket-00000000")
            name = f"ticket-{int(last[7:15]) + 1:08d}"
            descriptor = lock_files.opened(self.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                with about(self.path / name):
                    os.write(descriptor, _ticket(want))
            except BaseException:
                os.close(descriptor)
                raise
        return name, descriptor

    def rewrite(self, descriptor: int, want: LeaseRequest) -> None:
        """Change what a ticket requests."""
        with self.mutex():
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _ticket(want), 0)

    def names(self) -> list[str]:
        """Return the names of all tickets, oldest first."""
        return sorted(name for name in os.listdir(self.path) if name.startswith("ticket-"))  # noqa: PTH208

    def ahead(self, mine: str) -> dict[str, LeaseRequest]:
        """Return the requests of the active waiters before mine, oldest first.

        Deletes the tickets of dead processes. Skips those of stopped processes, which keep their
        place.
        """
        before = {}
        for name in self.names():
            if name >= mine:
                break
            if not lock_files.locked(self.path / name):
                (self.path / name).unlink(missing_ok=True)
                continue
            ticket = lock_files.content(self.path / name)
            if process_info.stopped(ticket.get("pid")):
                continue
            pool = tuple(ticket.get("pool", ()))
            before[name] = LeaseRequest(ticket.get("count", 0), pool, ticket)
        return before

    def attempt(
        self, wants: Mapping[str, LeaseRequest], foreign: Mapping[str, str]
    ) -> tuple[dict[str, Lease], set[str]]:
        """Take the leases that can be granted now.

        Args:
            wants: This process's requests by ticket.
            foreign: Devices that foreign programs use, with words about each.

        Returns:
            The leases by ticket, and the idle devices that are reserved for requests that need more
            of them.
        """
        if not wants:
            return {}, set()
        with self.mutex():
            line = {**self.ahead(max(wants)), **wants}
            tickets = sorted(line)
            pools = {device for request in line.values() for device in request.pool}
            held = {device for device in pools if lock_files.locked(self.file(device))}
            shared = shares([line[ticket] for ticket in tickets], held, foreign.keys())
            granted: dict[str, Lease] = {}
            reserved: set[str] = set()
            with released_on_error(granted):
                for ticket, devices in zip(tickets, shared, strict=True):
                    if len(devices) < line[ticket].count:
                        reserved.update(devices)
                    elif ticket in wants and (lease := self._take(wants[ticket], devices)):
                        granted[ticket] = lease
            return granted, reserved

    def at_once(self, want: LeaseRequest) -> Lease | None:
        """Take everything in want's pool now, or return None."""
        with self.mutex():
            return self._take(want, want.pool)

    def _take(self, want: LeaseRequest, devices: Sequence[str]) -> Lease | None:
        held: list[int] = []
        try:
            for device in devices:
                held.append(lock_files.opened(self.file(device), os.O_RDWR | os.O_CREAT))
                fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            lease = Lease(tuple(devices), tuple(held))
            with about(self.path):
                lease.inscribe(want.owner)
        except BaseException as error:
            for descriptor in held:
                os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return lease

    def holders(self, pool: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what the holders of the pool's devices wrote (LeaseRequest.owner, "since")."""
        with self.mutex():
            return {
                d: lock_files.content(self.file(d)) for d in pool if lock_files.locked(self.file(d))
            }

    def known_foreign(self) -> dict[str, str]:
        """Return what any waiter saw of foreign programs in the last FOREIGN_PAUSE seconds."""
        try:
            old = time.time() - (self.path / FOREIGN).stat().st_mtime > FOREIGN_PAUSE
        except OSError:
            return {}
        return {} if old else lock_files.content(self.path / FOREIGN)

    def query_foreign(self, leased: Set[str] = frozenset()) -> dict[str, str]:
        """Query which foreign programs use devices, and share the answer with the other waiters.

        leased: devices that were leased just now. If the answer cannot be written, for example to a
        full disk, the other waiters query themselves. Raises Failure if the query fails.
        """
        seen = self.foreign_among(self.foreign(), leased)
        if seen:
            with contextlib.suppress(OSError):
                temporary_files.write(self.path / FOREIGN, json.dumps(seen))
        return seen

    def forget_foreign(self) -> None:
        """Withdraw from the other waiters what was seen of foreign programs."""
        with contextlib.suppress(OSError):
            (self.path / FOREIGN).unlink()

    def foreign_among(
        self, seen: Mapping[str, str], leased: Set[str] = frozenset()
    ) -> dict[str, str]:
        """Return those of the devices in use that foreign programs use.

        A program on a device that benchy has leased is not foreign, unless the lease was granted
        just now (`leased`).
        """
        ours = self.holders(tuple(seen)) if seen else {}
        return {d: who for d, who in seen.items() if d in leased or d not in ours}

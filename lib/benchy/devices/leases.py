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
        temporary_files.private(base)
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
        told = {**owner, "since": datetime.datetime.now().strftime("%H:%M")}
        # One write of a fixed length, so that readers see either the old text or the new one.
        text = json.dumps(told).encode().ljust(INSCRIBED)
        for descriptor in self.descriptors:
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))

    def release(self) -> None:
        """Close this process's descriptors.

        The devices are free when every other holder has closed its descriptors too.
        """
        for descriptor in self.descriptors:
            os.close(descriptor)


def _ticket(want: LeaseRequest) -> bytes:
    return json.dumps({"count": want.count, "pool": list(want.pool), **want.owner}).encode()


def _who(told: Mapping[str, Any]) -> str:
    """Describe a holder: `model (pid 12, /checkout, since 12:03)`."""
    model, pid, root, since = (told.get(k, "?") for k in ("model", "pid", "root", "since"))
    return f"{model} (pid {pid}, {root}, since {since})"


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
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with about(self.path / name):
                os.write(descriptor, _ticket(want))
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
            told = lock_files.content(self.path / name)
            if process_info.stopped(told.get("pid")):
                continue
            before[name] = LeaseRequest(told.get("count", 0), tuple(told.get("pool", ())), told)
        return before

    def shares(
        self, everyone: Sequence[LeaseRequest], foreign: Mapping[str, str]
    ) -> list[tuple[str, ...]]:
        """Return which free devices each request gets or reserves, in the order of its pool.

        A request that gets its full count can be granted. The caller holds the mutex.
        """
        wanted = Counter(device for one in everyone for device in one.pool)
        held = {d for d in wanted if lock_files.locked(self.file(d))}
        # A program on a device that benchy has leased is not foreign.
        usable = {d for d in wanted if d in held or d not in foreign}
        free = usable - held
        found: list[tuple[str, ...]] = []
        for one in everyone:
            if not free or len(usable.intersection(one.pool)) < one.count:
                # It waits for a foreign program, maybe for days, so it reserves nothing.
                found.append(())
                continue
            # Prefer devices that fewest others can use, so that a pinned request is not blocked.
            mine = sorted((d for d in one.pool if d in free), key=lambda d: wanted[d])
            taken = set(mine[: one.count])
            free -= taken
            found.append(tuple(d for d in one.pool if d in taken))
        return found

    def attempt(
        self, wants: Mapping[str, LeaseRequest], foreign: Mapping[str, str]
    ) -> tuple[dict[str, Lease], set[str]]:
        """Take the leases that can be granted now.

        wants: ticket → request. Returns ticket → lease, and the idle devices that are reserved for
        requests that need more of them.
        """
        if not wants:
            return {}, set()
        with self.mutex():
            queue = {**self.ahead(max(wants)), **wants}
            names = sorted(queue)
            shares = self.shares([queue[name] for name in names], foreign)
            found: dict[str, Lease] = {}
            kept: set[str] = set()
            for name, devices in zip(names, shares, strict=True):
                if len(devices) < queue[name].count:
                    kept.update(devices)
                if name in wants and len(devices) == wants[name].count:
                    lease = self._take(wants[name], devices)
                    if lease:
                        found[name] = lease
            return found, kept

    def at_once(self, want: LeaseRequest) -> Lease | None:
        """Take everything in want's pool now, or return None."""
        with self.mutex():
            return self._take(want, want.pool)

    def _take(self, want: LeaseRequest, devices: Sequence[str]) -> Lease | None:
        held: list[int] = []
        for device in devices:
            descriptor = lock_files.opened(self.file(device), os.O_RDWR | os.O_CREAT)
            held.append(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                for each in held:
                    os.close(each)
                return None
        lease = Lease(tuple(devices), tuple(held))
        with about(self.path):
            lease.inscribe(want.owner)
        return lease

    def holders(self, pool: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what the holders of the pool's devices wrote (LeaseRequest.owner, "since")."""
        with self.mutex():
            return {
                d: lock_files.content(self.file(d)) for d in pool if lock_files.locked(self.file(d))
            }

    def known(self) -> dict[str, str]:
        """Return what any waiter saw of foreign programs in the last FOREIGN_PAUSE seconds."""
        try:
            old = time.time() - (self.path / "strangers").stat().st_mtime > FOREIGN_PAUSE
        except OSError:
            return {}
        return {} if old else lock_files.content(self.path / "strangers")

    def outside(self, seen: Mapping[str, str], just: Set[str] = frozenset()) -> dict[str, str]:
        """Return those of the devices in use that foreign programs use.

        A program on a device that benchy has leased is not foreign, unless the lease was granted
        just now (`just`).
        """
        ours = self.holders(tuple(seen)) if seen else {}
        return {d: who for d, who in seen.items() if d in just or d not in ours}

    def look(self, just: Set[str] = frozenset()) -> dict[str, str]:
        """Query which foreign programs use devices, and share the answer with the other waiters.

        just: devices that were leased just now.
        """
        seen = self.outside(self.foreign(), just)
        if seen:
            temporary_files.write(self.path / "strangers", json.dumps(seen))
        return seen

    def why(
        self,
        want: LeaseRequest,
        mine: str,
        strangers: Mapping[str, str],
        ours: Set[int] = frozenset(),
    ) -> str:
        """Describe what a request waits for.

        Returns "" if the reason has just gone, or if only this process's own servers (`ours`, pids)
        are in the way.
        """
        holders = self.holders(want.pool)
        words = {d: _who(told) for d, told in holders.items() if told.get("pid") not in ours}
        words |= {d: strangers[d] for d in want.pool if d in strangers}
        if words or holders:
            same: dict[str, list[str]] = {}
            for device, who in words.items():
                same.setdefault(who, []).append(device)
            return "; ".join(
                f"{', '.join(found)} {'are' if found[1:] else 'is'} used by {who}"
                for who, found in same.items()
            )
        with self.mutex():
            before = self.ahead(mine).values()
        ahead = [one for one in before if set(one.pool) & set(want.pool)]
        return f"{ahead[-1].owner.get('model', '?')} is before it" if ahead else ""

"""One GPU, one server, across all `make` and checkouts of one user on one host.

Everything lies in one directory of the user, per host: below $BENCHY_LEASES, else below
/tmp/benchy-UID.

- `gpu-…` and `cpu-…`: whoever holds the exclusive flock on it has that device. The kernel frees it
  with the last process that has the descriptor, so no lease outlives its holder.
- `ticket-…`: a waiter, with what it wants; it holds the flock on it while it waits. Tickets are
  served in order: each reserves what it could use of what is free, so a model that wants four GPUs
  is not starved by those that want one; those that want other devices pass it by, and so does
  everybody while its process is stopped (Ctrl-Z).
- `mutex`: held while tickets are read and devices taken, so that several are taken all or none.

Waiters sleep in inotify: the kernel reports the close of a holder's descriptor, its death included.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
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

from benchy.core import process_info, temporary_files
from benchy.core.errors import about
from benchy.devices import lock_files

INSCRIBED = 512  # bytes
TMP = Path("/tmp")  # noqa: S108 - the directory in it is checked
FOREIGN_PAUSE = 5.0  # seconds between two looks at whether a foreign process has left
SECOND_LOOK = 1.0  # seconds: memory of a server that has just ended may show for a moment


def directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The directory of this user's leases on this host, made with mode 0700. Raises Failure."""
    if given := environment.get("BENCHY_LEASES"):
        base = Path(given)
    else:
        # The same for every way in: cron, su and ssh each have other variables, and a job's
        # TMPDIR is its own.
        base = TMP / f"benchy-{os.getuid()}"
        temporary_files.private(base)
    path = base / (re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) or "host")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@dataclass(frozen=True)
class LeaseRequest:
    """What one server needs: `count` of the devices named in `pool`, in the order of preference.

    owner: what a waiter is told about the holder: model, pid, root (the checkout).
    """

    count: int
    pool: tuple[str, ...]
    owner: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lease:
    """Devices held, in the order of the pool, and the descriptors that hold them."""

    devices: tuple[str, ...]
    descriptors: tuple[int, ...]

    def inscribe(self, owner: Mapping[str, Any]) -> None:
        """Say in the lock files who has them, for those that wait."""
        told = {**owner, "since": datetime.datetime.now().strftime("%H:%M")}
        # In one write of one length: who reads meanwhile sees the old words or the new ones.
        text = json.dumps(told).encode().ljust(INSCRIBED)
        for descriptor in self.descriptors:
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))

    def release(self) -> None:
        """Close our descriptors; the devices are free once every other holder has done so too."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def _ticket(want: LeaseRequest) -> bytes:
    return json.dumps({"count": want.count, "pool": list(want.pool), **want.owner}).encode()


def _who(told: Mapping[str, Any]) -> str:
    """A holder in words: `model (pid 12, /checkout, since 12:03)`."""
    model, pid, root, since = (told.get(k, "?") for k in ("model", "pid", "root", "since"))
    return f"{model} (pid {pid}, {root}, since {since})"


class LeaseDirectory:
    """Where leases are had: one directory, one waiter at a time in this process."""

    def __init__(self, path: Path, foreign: Callable[[], Mapping[str, str]] = dict) -> None:
        """foreign: says which devices are in use, device → words about by whom. Slow calls are
        fine, it is asked only when the lease could be had otherwise, or devices lie idle."""
        self.path, self.foreign = path, foreign

    def file(self, device: str) -> Path:
        """The lock file of a device."""
        if re.fullmatch(r"[A-Za-z0-9._-]{1,80}", device):
            return self.path / device
        return self.path / f"device-{hashlib.sha256(device.encode()).hexdigest()[:16]}"

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
        """Draw a ticket: its name and the descriptor that keeps it alive."""
        with self.mutex():
            last = max(self.names(), default="ticket-00000000")
            name = f"ticket-{int(last[7:15]) + 1:08d}"
            descriptor = lock_files.opened(self.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with about(self.path / name):
                os.write(descriptor, _ticket(want))
        return name, descriptor

    def rewrite(self, descriptor: int, want: LeaseRequest) -> None:
        """Have a ticket stand for something else."""
        with self.mutex():
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _ticket(want), 0)

    def names(self) -> list[str]:
        """All tickets' names, oldest first."""
        return sorted(name for name in os.listdir(self.path) if name.startswith("ticket-"))  # noqa: PTH208

    def ahead(self, mine: str) -> dict[str, LeaseRequest]:
        """The waiters before mine that could go, oldest first. Removes the tickets of dead ones;
        one that is stopped has its turn again once it goes on."""
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
        """What each can have or keep of what is free, in its pool's order; who has as many as it
        wants can go. Called under the mutex."""
        wanted = Counter(device for one in everyone for device in one.pool)
        held = {d for d in wanted if lock_files.locked(self.file(d))}
        # What uses a device that one of us holds is no stranger.
        usable = {d for d in wanted if d in held or d not in foreign}
        free = usable - held
        found: list[tuple[str, ...]] = []
        for one in everyone:
            if not free or len(usable.intersection(one.pool)) < one.count:
                # It waits for a stranger, maybe for days: it keeps nothing idle for that.
                found.append(())
                continue
            # Of what is free take what fewest others could use, so that a pinned one isn't blocked.
            mine = sorted((d for d in one.pool if d in free), key=lambda d: wanted[d])
            taken = set(mine[: one.count])
            free -= taken
            found.append(tuple(d for d in one.pool if d in taken))
        return found

    def attempt(
        self, wants: Mapping[str, LeaseRequest], foreign: Mapping[str, str]
    ) -> tuple[dict[str, Lease], set[str]]:
        """The leases that can be had now, of those that the tickets `wants` are for; and the
        devices that lie idle, kept for one that needs more of them."""
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
        """Everything of want's pool, now or not at all."""
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
        """What holders of the pool's devices say of themselves (LeaseRequest.owner, "since")."""
        with self.mutex():
            return {
                d: lock_files.content(self.file(d)) for d in pool if lock_files.locked(self.file(d))
            }

    def known(self) -> dict[str, str]:
        """What some waiter saw of strangers within the last FOREIGN_PAUSE seconds."""
        try:
            old = time.time() - (self.path / "strangers").stat().st_mtime > FOREIGN_PAUSE
        except OSError:
            return {}
        return {} if old else lock_files.content(self.path / "strangers")

    def outside(self, seen: Mapping[str, str], just: Set[str] = frozenset()) -> dict[str, str]:
        """Of devices that are in use, those that strangers use: what uses one that one of us holds
        is no stranger, unless the lease is of `just` now."""
        ours = self.holders(tuple(seen)) if seen else {}
        return {d: who for d, who in seen.items() if d in just or d not in ours}

    def look(self, just: Set[str] = frozenset()) -> dict[str, str]:
        """Who else uses devices, told to the other waiters as well. just: leased just now."""
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
        """Whom want waits for, in words; "" if that has just gone, or is only `ours` (pids)."""
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

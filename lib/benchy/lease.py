"""One GPU, one server, across all `make` and checkouts of one user on one host.

Everything lies in one directory of the user, per host: $BENCHY_LEASES, else
$XDG_RUNTIME_DIR/benchy, else ~/.cache/benchy/leases.

- `gpu-…` and `cpu-…`: whoever holds the exclusive flock on it has that device. The kernel frees it
  with the last process that has the descriptor, so no lease outlives its holder.
- `ticket-…`: a waiter, with what it wants; it holds the flock on it while it waits. Tickets are
  served in order: each reserves what it could use of what is free, so a model that wants four GPUs
  is not starved by those that want one; those that want other devices pass it by.
- `mutex`: held while tickets are read and devices taken, so that several are taken all or none.

Waiters sleep in inotify: the kernel reports the close of a holder's descriptor, its death included.
"""

from __future__ import annotations

import ctypes
import datetime
import fcntl
import hashlib
import json
import os
import re
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IN_CLOSE_WRITE, IN_DELETE = 0x8, 0x200  # sys/inotify.h
# The event of a close comes a moment before the kernel drops the lock (fs/file_table.c, __fput).
AFTER_CLOSE = (0.02, 0.3)
FOREIGN_PAUSE = 5.0  # seconds between two looks at whether a foreign process has left
_libc = ctypes.CDLL(None, use_errno=True)


def directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The directory of this user's leases on this host, made with mode 0700."""
    if given := environment.get("BENCHY_LEASES"):
        base = Path(given)
    elif runtime := environment.get("XDG_RUNTIME_DIR"):
        base = Path(runtime, "benchy")
    else:
        base = Path.home() / ".cache/benchy/leases"
    path = base / (re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) or "host")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


@dataclass(frozen=True)
class Want:
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

    def release(self) -> None:
        """Close our descriptors; the devices are free once every other holder has done so too."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _locked(path: Path) -> bool:
    """Does somebody hold path's flock? Ask under the mutex: asking takes it for a moment."""
    try:
        descriptor = _open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _content(path: Path) -> dict[str, Any]:
    """A ticket's or holder's JSON; {} where it is half written."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content


class Desk:
    """Where leases are had: one directory, one waiter at a time in this process."""

    def __init__(self, path: Path, foreign: Callable[[], Mapping[str, str]] = dict) -> None:
        """foreign: says which devices somebody else uses, device → words about who. Slow calls
        are fine, it is asked only when the lease could be had otherwise."""
        self.path, self.foreign = path, foreign
        self.tickets: dict[str, Want] = {}

    def file(self, device: str) -> Path:
        """The lock file of a device."""
        if re.fullmatch(r"[A-Za-z0-9._-]{1,80}", device):
            return self.path / device
        return self.path / f"device-{hashlib.sha256(device.encode()).hexdigest()[:16]}"

    @contextmanager
    def mutex(self) -> Iterator[None]:
        """Hold the directory's mutex."""
        descriptor = _open(self.path / "mutex", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def issue(self, want: Want) -> tuple[str, int]:
        """Draw a ticket: its name and the descriptor that keeps it alive."""
        with self.mutex():
            last = max(self.names(), default="ticket-00000000")
            name = f"ticket-{int(last[7:15]) + 1:08d}"
            descriptor = _open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            told = {"count": want.count, "pool": list(want.pool), **want.owner}
            os.write(descriptor, json.dumps(told).encode())
        return name, descriptor

    def names(self) -> list[str]:
        """All tickets' names, oldest first."""
        return sorted(name for name in os.listdir(self.path) if name.startswith("ticket-"))  # noqa: PTH208

    def ahead(self, mine: str) -> list[Want]:
        """The living waiters before mine, oldest first. Removes the tickets of dead ones."""
        before = []
        for name in self.names():
            if name >= mine:
                break
            if name not in self.tickets:
                told = _content(self.path / name)
                self.tickets[name] = Want(told.get("count", 0), tuple(told.get("pool", ())), told)
            if not _locked(self.path / name):
                (self.path / name).unlink(missing_ok=True)
                continue
            before.append(self.tickets[name])
        return before

    def choose(
        self, want: Want, before: Sequence[Want], foreign: Mapping[str, str]
    ) -> tuple[str, ...] | None:
        """The devices that want can have now, None if it has to wait. Called under the mutex."""
        everyone = (*before, want)
        named = dict.fromkeys(device for one in everyone for device in one.pool)
        held = {d for d in named if _locked(self.file(d))}
        # What uses a device that one of us holds is no stranger.
        usable = [d for d in named if d in held or d not in foreign]
        free = [d for d in usable if d not in held]
        for one in everyone:
            if len([d for d in one.pool if d in usable]) < one.count:
                continue  # It waits for a stranger, maybe for days: it keeps nothing idle for that
            # Of what is free take what fewest others could use, so that a pinned one isn't blocked.
            mine = [d for d in one.pool if d in free]
            mine.sort(key=lambda d: sum(d in other.pool for other in everyone if other is not one))
            taken = mine[: one.count]
            if one is want:
                if len(taken) < one.count:
                    return None
                return tuple(d for d in one.pool if d in taken)
            free = [d for d in free if d not in taken]
        return None

    def attempt(self, want: Want, mine: str, foreign: Mapping[str, str]) -> Lease | None:
        """The lease that want can have now, or None."""
        with self.mutex():
            devices = self.choose(want, self.ahead(mine), foreign)
            if devices is None:
                return None
            held: list[int] = []
            told = {**want.owner, "since": datetime.datetime.now().strftime("%H:%M")}
            for device in devices:
                descriptor = _open(self.file(device), os.O_RDWR | os.O_CREAT)
                held.append(descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    for each in held:
                        os.close(each)
                    return None
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(told).encode(), 0)
            return Lease(devices, tuple(held))

    def holders(self, pool: Sequence[str]) -> dict[str, str]:
        """Who holds what of pool: device → `model (pid 12, /checkout, since 12:03)`."""
        found = {}
        with self.mutex():
            for device in pool:
                if _locked(self.file(device)):
                    told = _content(self.file(device))
                    found[device] = (
                        f"{told.get('model', '?')} (pid {told.get('pid', '?')}, "
                        f"{told.get('root', '?')}, since {told.get('since', '?')})"
                    )
        return found

    def known(self) -> dict[str, str]:
        """What some waiter saw of strangers within the last FOREIGN_PAUSE seconds."""
        try:
            old = time.time() - (self.path / "strangers").stat().st_mtime > FOREIGN_PAUSE
        except OSError:
            return {}
        return {} if old else _content(self.path / "strangers")

    def look(self) -> dict[str, str]:
        """Who else uses devices, told to the other waiters as well."""
        seen = dict(self.foreign())
        if seen:
            aside = self.path / f"strangers.{os.getpid()}.tmp"
            aside.write_text(json.dumps(seen))
            aside.replace(self.path / "strangers")
        return seen

    def acquire(self, want: Want, say: Callable[[str], None], idle: Callable[[], None]) -> Lease:
        """Wait until want can be had, and take it.

        say: called with whom it waits for, once, and again when that turns into something else.
        idle: called at least every 10 s + 1 s for each waiter ahead; may raise to give up.
        """
        watch = _Watch(self.path)
        mine, ticket = self.issue(want)
        said, sightings = "", 0
        try:
            while True:
                strangers = self.known()
                lease = self.attempt(want, mine, strangers)
                if lease:
                    # Only now that they could be had is it worth asking who else uses them.
                    strangers = self.look()
                    if not strangers.keys() & set(lease.devices):
                        return lease
                    lease.release()
                    if lease := self.attempt(want, mine, strangers):
                        return lease
                    sightings += 1
                blocked = bool(strangers.keys() & set(want.pool))
                if sightings == 1:
                    # Memory of a server that has just ended may show for a moment more.
                    sightings += 1
                    (self.path / "strangers").unlink(missing_ok=True)
                    time.sleep(1)
                    continue
                reason = "strangers" if blocked else "ours"
                if reason != said and (words := self.why(want, mine, strangers)):
                    say(words)
                    said = reason
                idle()
                position = sum(name < mine for name in self.names())
                watch.wait(FOREIGN_PAUSE + 0.1 if blocked else 10.0 + position, mine)
        finally:
            (self.path / mine).unlink(missing_ok=True)
            os.close(ticket)
            watch.close()

    def why(self, want: Want, mine: str, strangers: Mapping[str, str]) -> str:
        """Whom want waits for, in words; "" if that has just gone."""
        held = {**self.holders(want.pool), **{d: strangers[d] for d in want.pool if d in strangers}}
        if held:
            return "; ".join(f"{device} is used by {who}" for device, who in held.items())
        with self.mutex():
            before = self.ahead(mine)
        ahead = [one for one in before if set(one.pool) & set(want.pool)]
        return f"{ahead[-1].owner.get('model', '?')} is before it" if ahead else ""


class _Watch:
    """Sleeps until a device or an earlier ticket is closed or removed."""

    def __init__(self, path: Path) -> None:
        self.descriptor = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.descriptor >= 0:
            _libc.inotify_add_watch(self.descriptor, os.fsencode(path), IN_CLOSE_WRITE | IN_DELETE)
        self.again: list[float] = []  # times of looking once more

    def wait(self, timeout: float, mine: str) -> None:
        """Return after timeout seconds, or when something that concerns ticket `mine` happened."""
        end = time.monotonic() + timeout
        if self.descriptor < 0:  # the user's inotify instances are used up: poll
            time.sleep(min(timeout, 5.0))
            return
        while True:
            due = min([end, *self.again])
            if select.select([self.descriptor], [], [], max(0.0, due - time.monotonic()))[0]:
                if self.concerns(os.read(self.descriptor, 1 << 16), mine):
                    self.again = [time.monotonic() + pause for pause in AFTER_CLOSE]
            elif time.monotonic() >= due:
                self.again = [moment for moment in self.again if moment > due]
                return

    def concerns(self, events: bytes, mine: str) -> bool:
        """Is there an event of a device or an earlier ticket? (inotify(7): 16 bytes and a name)"""
        at = 0
        while at < len(events):
            length = int.from_bytes(events[at + 12 : at + 16], "little")
            name = events[at + 16 : at + 16 + length].rstrip(b"\0").decode(errors="replace")
            at += 16 + length
            ticket = name.startswith("ticket-")
            if name < mine if ticket else not name.startswith(("mutex", "strangers")):
                return True
        return False

    def close(self) -> None:
        """Stop watching."""
        if self.descriptor >= 0:
            os.close(self.descriptor)

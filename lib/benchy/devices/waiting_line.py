"""The line of processes that wait for devices."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Set
from enum import Enum
from typing import Any

from benchy.devices import leases
from benchy.devices.inotify import Watch
from benchy.devices.leases import Lease, LeaseDirectory, LeaseRequest


class Sighting(Enum):
    """How certain it is that foreign programs use devices that a request would get.

    A foreign program is one outside benchy that holds memory of a device. One sighting proves
    little: the memory of a server that has just ended is still reported for a moment. So the line
    checks again after SECOND_LOOK seconds before it reports the program, shares the sighting with
    other waiters, or gives away what a request has reserved. `Line.grant` checks and goes from one
    state to the next:

        the check finds foreign programs on     retry without these devices    next state
        none of the devices below               -                              NONE
        a device that it has just leased        yes                            NONE if the retry
        only devices that a request reserves,                                  grants a request,
        no lease granted                        unless the state is NONE       else one step down

    The steps down are NONE → ONCE → CONFIRMED, which is the last.
    """

    NONE = "none"
    ONCE = "once"  # the next check is due in SECOND_LOOK seconds
    CONFIRMED = "confirmed"  # checked every FOREIGN_PAUSE seconds

    def repeated(self) -> Sighting:
        """Return the state after one more sighting."""
        return Sighting.ONCE if self is Sighting.NONE else Sighting.CONFIRMED


class Line:
    """The requests of one process in the waiting line, with a ticket for each.

    The oldest ticket is for the most urgent request. A ticket is only a place in the line, and the
    process may change what it requests. So a process serves its own requests in its own order, and
    different processes are served first come, first served.
    """

    def __init__(self, desk: LeaseDirectory) -> None:
        self.desk, self.watch = desk, Watch(desk.path)
        self.wants: dict[str, LeaseRequest] = {}  # in the order of self.tickets
        self.tickets: list[tuple[str, int]] = []  # name and descriptor, oldest first
        self.foreign: Mapping[str, str] = {}  # device → words about the foreign program on it
        self.sighting = Sighting.NONE
        self.checked = -leases.FOREIGN_PAUSE  # time.monotonic() of the last check
        self.reported = ""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.set_requests({})
        self.watch.close()

    @property
    def last(self) -> str:
        """The name of the newest ticket."""
        return self.tickets[-1][0] if self.tickets else ""

    def set_requests(self, wants: Mapping[str, LeaseRequest]) -> None:
        """Wait for exactly these requests, in this order.

        If a ticket cannot be written, it waits for none of them. Raises OSError.
        """
        before = list(self.wants.values())
        self.wants = dict(wants)
        while len(self.tickets) > len(wants):
            self._give_up(-1)
        try:
            for at, want in enumerate(wants.values()):
                if at >= len(self.tickets):
                    self.tickets.append(self.desk.issue(want))
                elif want != before[at]:
                    self.desk.rewrite(self.tickets[at][1], want)
        except BaseException:
            self.set_requests({})
            raise

    def _give_up(self, at: int) -> None:
        """Remove the ticket at this position from the line."""
        name, descriptor = self.tickets.pop(at)
        with contextlib.suppress(OSError):  # the next waiter deletes a ticket without a lock
            (self.desk.path / name).unlink()
        os.close(descriptor)

    def grant(self) -> dict[str, Lease]:
        """Take the leases that are available now, and remove their requests from the line.

        In four phases:

        1. Lease what is free. Skip devices on which a waiter has lately seen a foreign program.
        2. Query foreign programs, which is slow. It is done only if a lease was granted, or if
           devices are idle for a request whose other devices a foreign program may hold for days.
           No foreign program holds a CPU slot.
        3. Release leases of devices that a foreign program uses, and retry as `Sighting` says.
        4. Give up the tickets of the granted requests.

        If a phase fails, the leases of this call are released. Raises OSError, or Failure if the
        query fails.
        """
        names = [name for name, _ in self.tickets]
        requests = dict(zip(names, self.wants.values(), strict=True))
        self.foreign = self.desk.known_foreign()
        granted, reserved = self.desk.attempt(requests, self.foreign)
        devices = {device for want in requests.values() for device in want.pool}
        if all(device.startswith(leases.CPU) for device in devices):
            return self._leave(granted)
        if granted or (reserved and not self.foreign and self._check_due()):
            with leases.released_on_error(granted):
                self._query_foreign(granted)
                retried = self._avoid_foreign(requests, granted, reserved)
            granted |= retried
        return self._leave(granted)

    def _check_due(self) -> bool:
        """Return whether it is time to query foreign programs for idle devices."""
        once = self.sighting is Sighting.ONCE
        pause = leases.SECOND_LOOK if once else leases.FOREIGN_PAUSE
        return time.monotonic() - self.checked >= pause

    def _query_foreign(self, granted: Mapping[str, Lease]) -> None:
        leased = {device for lease in granted.values() for device in lease.devices}
        self.foreign, self.checked = self.desk.query_foreign(leased), time.monotonic()

    def _avoid_foreign(
        self, requests: Mapping[str, LeaseRequest], granted: dict[str, Lease], reserved: Set[str]
    ) -> dict[str, Lease]:
        """Release the leases of devices that foreign programs use, retry, and set `sighting`.

        Args:
            requests: All requests by ticket.
            granted: The leases of the first attempt by ticket. Those on devices in use are removed.
            reserved: Idle devices that are reserved for requests that need more of them.

        Returns:
            The leases of the retry by ticket.
        """
        used = self.foreign.keys()
        refused = [name for name, lease in granted.items() if used & set(lease.devices)]
        for name in refused:
            granted.pop(name).release()
        if not refused and (granted or not used & reserved):
            self.sighting = Sighting.NONE
            return {}
        retried: dict[str, Lease] = {}
        if refused or self.sighting is not Sighting.NONE:
            remaining = {name: want for name, want in requests.items() if name not in granted}
            retried, _ = self.desk.attempt(remaining, self.foreign)
        self.sighting = Sighting.NONE if retried else self.sighting.repeated()
        if self.sighting is Sighting.ONCE:
            self.desk.forget_foreign()
        return retried

    def _leave(self, granted: Mapping[str, Lease]) -> dict[str, Lease]:
        """Give up the tickets of the granted requests. Return the leases by request.

        Each gives up its own ticket, so that the other requests overtake no other process.
        """
        keys = dict(zip((name for name, _ in self.tickets), self.wants, strict=True))
        for name in granted:
            self._give_up([ticket for ticket, _ in self.tickets].index(name))
            del self.wants[keys[name]]
        return {keys[name]: lease for name, lease in granted.items()}

    def pause(self) -> float:
        """Return the seconds until the next check, if the watch reports nothing before."""
        if self.sighting is Sighting.ONCE:
            return leases.SECOND_LOOK
        pools = {device for want in self.wants.values() for device in want.pool}
        if self.foreign.keys() & pools:
            return leases.FOREIGN_PAUSE + 0.1
        return 10.0 + sum(name < self.last for name in self.desk.names())

    def reason(self, ours: Set[int] = frozenset()) -> str:
        """Describe what the first request waits for.

        Returns "" if that was reported before, or if only this process's own servers (`ours`, pids)
        are in the way.
        """
        if not self.wants or self.sighting is Sighting.ONCE:
            return ""
        key, want = next(iter(self.wants.items()))
        kind = f"{key} " + ("foreign" if self.foreign.keys() & set(want.pool) else "ours")
        if kind == self.reported:
            return ""
        words = self._obstacle(want, ours)
        self.reported = kind if words else self.reported
        return words

    def _obstacle(self, want: LeaseRequest, ours: Set[int]) -> str:
        """Describe who uses the devices of the first request, or which model is ahead of it.

        Returns "" if the obstacle is gone by now.
        """
        holders = self.desk.holders(want.pool)
        users = {d: _holder(owner) for d, owner in holders.items() if owner.get("pid") not in ours}
        users |= {d: self.foreign[d] for d in want.pool if d in self.foreign}
        if users or holders:
            devices: dict[str, list[str]] = {}
            for device, user in users.items():
                devices.setdefault(user, []).append(device)
            return "; ".join(
                f"{', '.join(used)} {'are' if used[1:] else 'is'} used by {user}"
                for user, used in devices.items()
            )
        with self.desk.mutex():
            before = self.desk.ahead(self.tickets[0][0]).values()
        ahead = [request for request in before if set(request.pool) & set(want.pool)]
        return f"{ahead[-1].owner.get('model', '?')} is ahead in the queue" if ahead else ""


def _holder(owner: Mapping[str, Any]) -> str:
    """Describe a holder: `model (pid 12, /checkout, since 12:03)`."""
    model, pid, root, since = (owner.get(k, "?") for k in ("model", "pid", "root", "since"))
    return f"{model} (pid {pid}, {root}, since {since})"


def acquire(
    desk: LeaseDirectory, want: LeaseRequest, say: Callable[[str], None], idle: Callable[[], None]
) -> Lease:
    """Wait until a request can be granted, and take its lease.

    Args:
        desk: The directory of leases.
        want: The request.
        say: Called with what it waits for, once, and again when that changes.
        idle: Called at least every 10 s plus 1 s for each waiter ahead; may raise to give up.
    """
    with Line(desk) as line:
        line.set_requests({"it": want})
        while True:
            if granted := line.grant():
                return granted["it"]
            if words := line.reason():
                say(words)
            idle()
            line.watch.wait(line.pause(), line.last)

"""The line of processes that wait for devices."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Set

from benchy.devices import leases
from benchy.devices.inotify import Watch
from benchy.devices.leases import Lease, LeaseDirectory, LeaseRequest


class Line:
    """The requests of one process in the waiting line, with a ticket for each.

    The oldest ticket is for the most urgent request. A ticket is only a place in the line, and the
    process may change what it requests. So a process serves its own requests in its own order, and
    different processes are served first come, first served.
    """

    def __init__(self, desk: LeaseDirectory) -> None:
        self.desk, self.watch = desk, Watch(desk.path)
        self.wants: dict[str, LeaseRequest] = {}  # in the order of self.tickets
        self.tickets: list[tuple[str, int]] = []
        self.strangers: Mapping[str, str] = {}
        self.sightings = 0
        self.looked = -leases.FOREIGN_PAUSE  # time.monotonic of the last check for foreign programs
        self.said = ""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle({})
        self.watch.close()

    @property
    def last(self) -> str:
        """The name of the newest ticket."""
        return self.tickets[-1][0] if self.tickets else ""

    def settle(self, wants: Mapping[str, LeaseRequest]) -> None:
        """Wait for exactly these requests, in this order."""
        before = list(self.wants.values())
        self.wants = dict(wants)
        while len(self.tickets) > len(wants):
            self._drop(-1)
        for at, want in enumerate(wants.values()):
            if at >= len(self.tickets):
                self.tickets.append(self.desk.issue(want))
            elif want != before[at]:
                self.desk.rewrite(self.tickets[at][1], want)

    def _drop(self, at: int) -> None:
        name, descriptor = self.tickets.pop(at)
        (self.desk.path / name).unlink(missing_ok=True)
        os.close(descriptor)

    def grant(self) -> dict[str, Lease]:
        """Take the leases that are available now, and remove them from the line."""
        names = [name for name, _ in self.tickets]
        asked = dict(zip(names, self.wants.values(), strict=True))
        key = dict(zip(names, self.wants, strict=True))
        self.strangers = self.desk.known()
        given, kept = self.desk.attempt(asked, self.strangers)
        # The query for foreign programs is slow. It is made only if a lease could be granted, or if
        # devices are idle for a request whose other devices a foreign program may hold for days.
        if given or (kept and not self.strangers and self.rested()):
            just = {device for each in given.values() for device in each.devices}
            self.strangers, self.looked = self.desk.look(just), time.monotonic()
            taken = [n for n, each in given.items() if self.strangers.keys() & set(each.devices)]
            for name in taken:
                given.pop(name).release()
            if taken or (not given and self.strangers.keys() & kept):
                rest = {name: want for name, want in asked.items() if name not in given}
                # Reserved devices go to other requests when a foreign program is seen twice.
                sure = taken or self.sightings
                again = self.desk.attempt(rest, self.strangers)[0] if sure else {}
                self.sightings = 0 if again else self.sightings + 1
                given |= again
            else:
                self.sightings = 0
            if self.sightings == 1:
                (self.desk.path / "strangers").unlink(missing_ok=True)
        # Each gives up its own ticket, so that the other requests overtake no other process.
        for name in given:
            at = [ticket for ticket, _ in self.tickets].index(name)
            self._drop(at)
            del self.wants[key[name]]
        return {key[name]: lease for name, lease in given.items()}

    def rested(self) -> bool:
        """Return whether it is time to check idle devices again."""
        pause = leases.SECOND_LOOK if self.sightings == 1 else leases.FOREIGN_PAUSE
        return time.monotonic() - self.looked >= pause

    def pause(self) -> float:
        """Return the seconds until the next check, if the watch reports nothing before."""
        if self.sightings == 1:
            return leases.SECOND_LOOK
        pools = {device for want in self.wants.values() for device in want.pool}
        if self.strangers.keys() & pools:
            return leases.FOREIGN_PAUSE + 0.1
        return 10.0 + sum(name < self.last for name in self.desk.names())

    def reason(self, ours: Set[int] = frozenset()) -> str:
        """Describe what the first request waits for.

        Returns "" if that was said before, or if only this process's own servers (`ours`, pids) are
        in the way.
        """
        if not self.wants or self.sightings == 1:
            return ""
        key, want = next(iter(self.wants.items()))
        kind = f"{key} " + ("strangers" if self.strangers.keys() & set(want.pool) else "ours")
        if kind == self.said:
            return ""
        words = self.desk.why(want, self.tickets[0][0], self.strangers, ours)
        self.said = kind if words else self.said
        return words


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
        line.settle({"it": want})
        while True:
            if given := line.grant():
                return given["it"]
            if words := line.reason():
                say(words)
            idle()
            line.watch.wait(line.pause(), line.last)

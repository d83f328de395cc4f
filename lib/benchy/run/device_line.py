"""The models of a run that wait for devices. The devices go to them in the order of the run.

In the line of all processes (waiting_line.py) stand only as many models as `-j` lets be served: a
model that may not start yet keeps no device from other runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from benchy.devices import allocation, leases, waiting_line
from benchy.display.messages import say

POLL = 5.0  # seconds between looks without inotify, as when the user has no instances left


class DeviceLine:
    """The waiting models of a run, and the leases that it holds.

    Attributes:
        needs: The devices that each model needs.
        at_once: How many leases the run may hold.
        own_pids: Returns the pids of the run's commands, whose devices are no reason for a message.
        waiting: The models that wait, each with the future of its lease.
        held: How many leases the run holds.
    """

    def __init__(
        self,
        needs: Mapping[str, allocation.DeviceNeed],
        at_once: int,
        own_pids: Callable[[], Iterable[int]],
    ) -> None:
        self.needs, self.at_once, self.own_pids = needs, at_once, own_pids
        self.waiting: dict[str, asyncio.Future[leases.Lease]] = {}
        self.held = 0
        self._rank: dict[str, int] = {}
        self._next_look: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def opened(self, order: Sequence[str], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Watch the devices. order: the models of the run, most urgent first."""
        self._rank = {name: at for at, name in enumerate(order)}
        with waiting_line.Line(allocation.desk()) as self._line:
            inotify = self._line.watch.descriptor
            if inotify >= 0:
                loop.add_reader(inotify, self._notified)
            try:
                yield
            finally:
                if self._next_look:
                    self._next_look.cancel()
                if inotify >= 0:
                    loop.remove_reader(inotify)

    async def lease(self, name: str) -> leases.Lease:
        """Wait for a model's devices and for a free place under -j, and return the lease."""
        self.waiting[name] = asyncio.get_running_loop().create_future()
        try:
            self._grant_next()
            return await self.waiting[name]
        finally:
            del self.waiting[name]

    def release(self, lease: leases.Lease) -> None:
        """Give devices back, and grant them to the models next in line."""
        lease.release()
        self.held -= 1
        self._grant_next()

    def in_line(self) -> list[str]:
        """Return the models that may start as soon as there are devices, most urgent first."""
        names = [name for name, lease in self.waiting.items() if not lease.done()]
        return sorted(names, key=self._rank.__getitem__)[: self.at_once - self.held]

    def _notified(self) -> None:
        if self._line.watch.read_events(self._line.last):
            self._grant_next()

    def _grant_next(self) -> None:
        """Grant the available devices to the models next in line, and schedule the next look.

        An error, such as a full disk or a driver that hangs, ends the wait of all models: this runs
        as a callback, and nobody would see it otherwise.
        """
        if self._next_look:
            self._next_look.cancel()
        try:
            names = self._grant()
            if words := self._line.reason({os.getpid(), *self.own_pids()}):
                rest = f" (and {len(names) - 1} more models)" if len(names) > 1 else ""
                say("WAIT", f"{names[0]}{rest}: {words}")
        except Exception as error:
            for lease in self.waiting.values():
                if not lease.done():
                    lease.set_exception(error)
            return
        if names:
            loop = asyncio.get_running_loop()
            self._next_look = loop.call_later(self._pause(loop.time()), self._grant_next)

    def _grant(self) -> list[str]:
        """Grant devices until there is none for any model, and return the models left in line."""
        while True:
            names = self.in_line()
            self._line.set_requests({name: self.needs[name].want for name in names})
            granted = self._line.grant()
            for name, lease in granted.items():
                self.held += 1
                self.waiting[name].set_result(lease)
            if not granted:
                return names

    def _pause(self, now: float) -> float:
        """Return the seconds until the next look. now: the loop's time."""
        due = [at - now for at in self._line.watch.wakeups if at > now]
        return min([self._line.pause() if self._line.watch.descriptor >= 0 else POLL, *due])

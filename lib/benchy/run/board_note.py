"""The note of a run on the board (activity.py): what its models wait for, and their jobs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchy.display import activity
from benchy.run.accounting import RunStats

PAUSE = 0.5  # seconds between checks whether the note is up to date


class BoardNote:
    """The note of one run.

    Attributes:
        stats: What the models wait for.
        order: The models, in the order in which the note lists them.
        jobs: Returns a description of each model's job.
    """

    def __init__(
        self, stats: RunStats, order: Sequence[str], jobs: Callable[[], Mapping[str, str]]
    ) -> None:
        self.stats, self.jobs = stats, jobs
        self._rank = {name: at for at, name in enumerate(order)}
        self._written, self._written_jobs = 0.0, dict[str, str]()

    @contextlib.contextmanager
    def refreshed(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Keep the note up to date."""

        def check() -> None:
            self._next_check = loop.call_later(PAUSE, check)
            self.update()

        check()
        try:
            yield
        finally:
            self._next_check.cancel()

    def update(self) -> None:
        """Write the note if it has changed or is older than a heartbeat."""
        jobs, stats = dict(self.jobs()), self.stats
        late = time.monotonic() - self._written > activity.HEARTBEAT
        if stats.changed or late or jobs != self._written_jobs:
            stats.changed, self._written, self._written_jobs = False, time.monotonic(), jobs
            names = sorted(stats.waiting, key=lambda name: self._rank.get(name, 0))
            waiting = {name: stats.waiting[name][1] for name in names}
            activity.put_run(waiting, stats.began, jobs, stats.plan)

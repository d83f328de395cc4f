"""Record what the models of a run wait for, how long they wait, and their device time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ENVIRONMENT, DOWNLOAD, DEVICE = "environments", "downloads", "devices"
RUN = "other runs"


@dataclass
class RunStats:
    """Waiting times, device time and failures of one run.

    Attributes:
        began: Start of the run, in seconds since the epoch.
        waiting: For each waiting model, the kind of resource and a description of it.
        waited: For each kind of resource, the seconds that all models together waited.
        used: Device-seconds: seconds times devices.
        served: Models that received devices.
        reasons: For each failed model, the reason and the path of the log ("" for none).
        changed: Whether `waiting` changed since the board was last written.
        plan: Directory of the run's plan.
    """

    began: float = field(default_factory=time.time)
    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)
    used: float = 0.0
    served: set[str] = field(default_factory=set)
    reasons: dict[str, tuple[str, str]] = field(default_factory=dict)
    changed: bool = False
    plan: str = "build"

    @contextmanager
    def wait(self, model: str, kind: str, what: str) -> Iterator[None]:
        """Count the time inside as waiting time of a model."""
        self.waiting[model], self.changed = (kind, what), True
        since = time.monotonic()
        try:
            yield
        finally:
            del self.waiting[model]
            self.waited[kind] = self.waited.get(kind, 0.0) + time.monotonic() - since
            self.changed = True

    @contextmanager
    def serve(self, model: str, count: int) -> Iterator[None]:
        """Count the time inside as device time of a model that holds `count` devices."""
        since = time.monotonic()
        self.served.add(model)
        try:
            yield
        finally:
            self.used += count * (time.monotonic() - since)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.time() - self.began

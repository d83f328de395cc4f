"""What a run's models wait for, how long they waited, and how long devices were theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ENVIRONMENT, DOWNLOAD, DEVICE = "environments", "downloads", "devices"
RUN = "other runs"


@dataclass
class Tally:
    """waiting: model → (kind, what for, in words). waited: kind → seconds, over all models. used:
    seconds times devices. served: models whose turn came. reasons: why a model failed. plan: the
    folder of the run's plan."""

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
        """While inside, a model waits."""
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
        """While inside, a model has `count` devices."""
        since = time.monotonic()
        self.served.add(model)
        try:
            yield
        finally:
            self.used += count * (time.monotonic() - since)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.time() - self.began

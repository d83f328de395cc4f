"""Resolve exact pins of a configuration that are newer than the cutoff.

Exact pins are transformers_version and `==` in extra_packages. A release is resolved as of its
release day, when a newer pin does not exist yet. Such a pin is exempt from the cutoff: first the
pin alone, then those of its dependencies that uv reports as missing. Each exception ends at the
pin's release day plus the slack, so the lock does not depend on the day of locking. Queries the
index through uv; writes only the log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from benchy.environments import pylock, release_date, uv
from benchy.environments.health import normal

if TYPE_CHECKING:
    from benchy.environments.environment_spec import BuildSpec

EXACT = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*={2,3}\s*([^\s,;*]+)\s*(?:;.*)?")
ROUNDS = 12  # each round adds packages to the exceptions or ends the search

Exceptions = Mapping[str, str]  # package → its own cutoff, UTC


@dataclass(frozen=True)
class Pin:
    """An exact pin. day: the latest upload time among the release's files, UTC."""

    requirement: str
    name: str
    version: str
    day: datetime

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.day:%Y-%m-%d})"


def written(spec: BuildSpec) -> list[str]:
    """Return the requirements that a configuration names.

    These are the release, extra packages and transformers_version, but not the overrides of
    repairs.
    """
    extras = [r for r in spec.requirements[1:] if r != "transformers"]
    pinned = [o for o in spec.overrides if o.startswith("transformers==")]
    return [
        *spec.requirements[:1],
        *extras,
        *(pinned if "transformers" in spec.requirements else []),
    ]


def newer(spec: BuildSpec, cutoff: str, query: release_date.IndexQuery) -> list[Pin]:
    """Return the exact pins, without the release itself, that were released after the cutoff.

    Pins after the machine's own cutoff are left out, because that cutoff is a safety measure.
    Raises UsageError if that cutoff cannot be parsed.
    """
    now = datetime.now(timezone.utc)
    limit = release_date.moment(cutoff, now)
    machine = uv.variables().get("UV_EXCLUDE_NEWER")
    latest = release_date.machine_limit(machine, now) if machine else now
    pins = []
    for requirement in written(spec)[1:]:
        exact = EXACT.fullmatch(requirement)
        times = (
            pylock.upload_times(query(requirement, *release_date.DATED_ONLY).stdout)
            if exact
            else []
        )
        if exact and times and limit and max(times) > limit and max(times) <= latest:
            pins.append(Pin(requirement, normal(exact[1]), exact[2], max(times)))
    return pins


def options(exceptions: Exceptions) -> list[str]:
    """Return the exceptions as options of uv."""
    pairs = [f"{name}={day}" for name, day in sorted(exceptions.items())]
    return [word for pair in pairs for word in ("--exclude-newer-package", pair)]


def search(
    newer: Sequence[Pin],
    slack_days: int,
    query: release_date.IndexQuery,
    attempt: Callable[[Exceptions], Sequence[str] | None],
) -> Exceptions | None:
    """Search for a small set of exceptions with which the pins resolve; None if there is none.

    Args:
        newer: The pins that are newer than the cutoff.
        slack_days: Days that each exception adds to a pin's release day.
        query: Queries uv for single requirements.
        attempt: Resolves with exceptions; returns None on success, else uv's output.
    """
    slack = timedelta(days=slack_days)
    exceptions = {pin.name: release_date.stamp(pin.day + slack) for pin in newer}
    needs: dict[str, str] | None = None
    for _ in range(ROUNDS):
        output = attempt(exceptions)
        if output is None:
            return exceptions
        if needs is None:
            needs = {}
            for pin in sorted(newer, key=lambda pin: pin.day):  # the youngest pin decides
                day = release_date.stamp(pin.day + slack)
                needs |= dict.fromkeys(query.closure(pin.requirement, day), day)
        more = {n: d for n, d in needs.items() if n not in exceptions and _blamed(n, output)}
        if not more:
            return None
        exceptions |= more
    return None


def _blamed(name: str, stderr: Iterable[str]) -> bool:
    """Return whether uv reports that it sees too few releases of a package."""
    spelled = "[-_.]".join(map(re.escape, name.split("-")))
    pattern = re.compile(
        rf"(`|only |only the following versions of |no versions? of ){spelled}"
        r"(` was filtered by|(?![\w.`-]))",
        re.I,
    )
    return any(pattern.search(line) for line in stderr)

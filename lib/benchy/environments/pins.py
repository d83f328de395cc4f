"""Exact pins that a person writes (transformers_version, `==` in extra_packages), and the cutoff.

A release is resolved as of its own day. A pin that came out later cannot be met then, so it is
exempt from the cutoff: first the pin alone, then whatever of its own needs uv reports as missing.
Each exception ends at the pin's own day plus the slack, so that the lock stays the same on any day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from benchy.environments import release_date, uv
from benchy.environments.health import normal

if TYPE_CHECKING:
    from benchy.environments.environment_spec import Spec

EXACT = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*={2,3}\s*([^\s,;*]+)\s*(?:;.*)?")
ROUNDS = 12  # each adds packages to the exceptions, or ends the search

Exceptions = Mapping[str, str]  # package → the time up to which its files are seen


@dataclass(frozen=True)
class Pin:
    """An exact pin. day: the latest upload time among the release's files, UTC."""

    requirement: str
    name: str
    version: str
    day: datetime

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.day:%Y-%m-%d})"


def written(spec: Spec) -> list[str]:
    """The requirements that the configuration names: the release, packages beside it, and
    transformers_version. Overrides of repairs are not among them."""
    beside = [r for r in spec.requirements[1:] if r != "transformers"]
    pinned = [o for o in spec.overrides if o.startswith("transformers==")]
    return [
        *spec.requirements[:1],
        *beside,
        *(pinned if "transformers" in spec.requirements else []),
    ]


def younger(spec: Spec, cutoff: str, ask: release_date.Asking) -> list[Pin]:
    """The exact pins beside the release itself that came out after the cutoff.

    Pins that the machine's own cutoff hides are left out: that one is there for safety.
    """
    now = datetime.now(timezone.utc)
    limit = release_date.moment(cutoff, now)
    machine = release_date.moment(uv.variables().get("UV_EXCLUDE_NEWER", ""), now)
    found = []
    for requirement in written(spec)[1:]:
        exact = EXACT.fullmatch(requirement)
        times = (
            release_date.upload_times(ask(requirement, *release_date.DATED_ONLY).stdout)
            if exact
            else []
        )
        if exact and times and limit and max(times) > limit and max(times) <= (machine or now):
            found.append(Pin(requirement, normal(exact[1]), exact[2], max(times)))
    return found


def options(exceptions: Exceptions) -> list[str]:
    """The exceptions as uv's options."""
    pairs = [f"{name}={day}" for name, day in sorted(exceptions.items())]
    return [word for pair in pairs for word in ("--exclude-newer-package", pair)]


def search(
    young: Sequence[Pin],
    slack_days: int,
    ask: release_date.Asking,
    attempt: Callable[[Exceptions], Sequence[str] | None],
) -> Exceptions | None:
    """The smallest set of exceptions found with which the pins resolve; None if none does.

    attempt: resolves with exceptions; None if that works, else what uv said.
    """
    slack = timedelta(days=slack_days)
    exceptions = {pin.name: release_date.stamp(pin.day + slack) for pin in young}
    needs: dict[str, str] | None = None
    for _ in range(ROUNDS):
        said = attempt(exceptions)
        if said is None:
            return exceptions
        if needs is None:
            needs = {}
            for pin in sorted(young, key=lambda pin: pin.day):  # the youngest pin decides
                day = release_date.stamp(pin.day + slack)
                needs |= dict.fromkeys(ask.closure(pin.requirement, day), day)
        more = {n: d for n, d in needs.items() if n not in exceptions and _blamed(n, said)}
        if not more:
            return None
        exceptions |= more
    return None


def _blamed(name: str, talk: Iterable[str]) -> bool:
    """Whether uv says that it sees too few releases of a package."""
    spelled = "[-_.]".join(map(re.escape, name.split("-")))
    said = re.compile(
        rf"(`|only |only the following versions of |no versions? of ){spelled}"
        r"(` was filtered by|(?![\w.`-]))",
        re.I,
    )
    return any(said.search(line) for line in talk)

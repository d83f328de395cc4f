"""Tests of the waiting line in one process: sightings of foreign programs, order, no starvation."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchy.core import temporary_files
from benchy.core.errors import Failure
from benchy.devices import leases, waiting_line
from benchy.devices.leases import LeaseRequest
from benchy.devices.waiting_line import Line, Sighting

NONE, ONCE, CONFIRMED = Sighting.NONE, Sighting.ONCE, Sighting.CONFIRMED
THREE = ("g0", "g1", "g2")
WIDE, NARROW = LeaseRequest(3, THREE), LeaseRequest(1, THREE)


@dataclass
class Case:
    """One call of Line.grant.

    Attributes:
        wants: The requests.
        granted: Expected leases, request → devices.
        after: Expected state.
        held: Devices that another process has leased.
        foreign: Devices that foreign programs use.
        known: Devices that another waiter saw in use a moment ago.
        before: State before the call.
        checked: Seconds since the last query.
        queries: Expected number of queries.
        shared: Expected: the other waiters learn what was seen.
    """

    wants: Mapping[str, LeaseRequest]
    granted: Mapping[str, tuple[str, ...]]
    after: Sighting
    held: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    before: Sighting = NONE
    checked: float = 1000
    queries: int = 1
    shared: bool = False


ONLY = {"m": LeaseRequest(1, ("g0",))}
EITHER = {"m": LeaseRequest(1, ("g0", "g1"))}
BOTH = {"wide": WIDE, "narrow": NARROW}
CASES = {
    "a free device": Case(ONLY, {"m": ("g0",)}, NONE),
    "a free device after a sighting": Case(ONLY, {"m": ("g0",)}, NONE, before=ONCE),
    "no free device": Case(ONLY, {}, ONCE, held=("g0",), before=ONCE, queries=0),
    "in use, first sighting": Case(ONLY, {}, ONCE, foreign=("g0",)),
    "in use, second sighting": Case(ONLY, {}, CONFIRMED, foreign=("g0",), before=ONCE, shared=True),
    "in use, third sighting": Case(
        ONLY, {}, CONFIRMED, foreign=("g0",), before=CONFIRMED, shared=True
    ),
    "in use, another device is free": Case(
        EITHER, {"m": ("g1",)}, NONE, foreign=("g0",), shared=True
    ),
    "in use, known from another waiter": Case(
        ONLY, {}, NONE, foreign=("g0",), known=("g0",), queries=0, shared=True
    ),
    "known from another waiter, another device is free": Case(
        EITHER, {"m": ("g1",)}, NONE, known=("g0",), shared=True
    ),
    "one of two leases refused": Case(
        {"m": LeaseRequest(1, ("g0",)), "n": LeaseRequest(1, ("g1",))},
        {"n": ("g1",)},
        ONCE,
        foreign=("g0",),
    ),
    "reserved devices, none in use": Case(BOTH, {}, NONE, held=("g1",), before=ONCE),
    "reserved device in use, first sighting": Case(BOTH, {}, ONCE, held=("g1",), foreign=("g0",)),
    "reserved device in use, second sighting": Case(
        BOTH, {"narrow": ("g2",)}, NONE, held=("g1",), foreign=("g0",), before=ONCE, shared=True
    ),
    "reserved device in use, nobody wants the others": Case(
        {"wide": WIDE}, {}, CONFIRMED, held=("g1",), foreign=("g0",), before=ONCE, shared=True
    ),
    "reserved device in use, another lease granted": Case(
        {"wide": WIDE, "pinned": LeaseRequest(1, ("g3",))},
        {"pinned": ("g3",)},
        NONE,
        held=("g1",),
        foreign=("g0",),
        shared=True,
    ),
    "reserved devices, checked a moment ago": Case(
        BOTH, {}, NONE, held=("g1",), foreign=("g0",), checked=2, queries=0
    ),
    "reserved devices, checked a moment ago and once in use": Case(
        {"wide": WIDE}, {}, CONFIRMED, held=("g1",), foreign=("g0",), before=ONCE, checked=2,
        shared=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_grant_goes_from_state_to_state(case: Case, tmp_path: Path) -> None:
    queries = []

    def foreign() -> dict[str, str]:
        queries.append(time.monotonic())
        return dict.fromkeys(case.foreign, "train.py (pid 7)")

    other = leases.LeaseDirectory(tmp_path)
    held = other.at_once(LeaseRequest(len(case.held), case.held))
    assert held
    if case.known:
        known = leases.LeaseDirectory(tmp_path, lambda: dict.fromkeys(case.known, "train.py"))
        known.query_foreign()
    with Line(leases.LeaseDirectory(tmp_path, foreign)) as line:
        line.set_requests(case.wants)
        line.sighting, line.checked = case.before, time.monotonic() - case.checked
        granted = line.grant()
        assert {key: lease.devices for key, lease in granted.items()} == case.granted
        assert (line.sighting, len(queries)) == (case.after, case.queries)
        assert bool(other.known_foreign()) == case.shared
        assert list(line.wants) == [key for key in case.wants if key not in granted]
        assert len(other.names()) == len(line.wants)
        for lease in (held, *granted.values()):
            lease.release()


@pytest.mark.parametrize(
    ("sighting", "foreign", "pause"),
    [
        (NONE, (), 10.0),
        (NONE, ("g9",), 10.0),  # no request could use it
        (NONE, ("g0",), leases.FOREIGN_PAUSE + 0.1),
        (ONCE, ("g0",), leases.SECOND_LOOK),
        (CONFIRMED, ("g0",), leases.FOREIGN_PAUSE + 0.1),
    ],
)
def test_pause_depends_on_the_state(
    sighting: Sighting, foreign: tuple[str, ...], pause: float, tmp_path: Path
) -> None:
    with Line(leases.LeaseDirectory(tmp_path)) as line:
        line.set_requests(ONLY)
        line.sighting, line.foreign = sighting, dict.fromkeys(foreign, "train.py")
        assert line.pause() == pause


POOL = ("g0", "g1", "g2", "g3")
pools = st.lists(st.sampled_from(POOL), min_size=1, unique=True).map(tuple)


@st.composite
def requests(draw: st.DrawFn, pool: st.SearchStrategy[tuple[str, ...]] = pools) -> LeaseRequest:
    devices = draw(pool)
    return LeaseRequest(draw(st.integers(1, len(devices))), devices)


@given(
    st.lists(requests(), max_size=6),
    st.sets(st.sampled_from(POOL)),
    st.sets(st.sampled_from(POOL)),
)
def test_no_request_gets_devices_that_an_earlier_one_needs(
    line: list[LeaseRequest], held: set[str], foreign: set[str]
) -> None:
    shared = leases.shares(line, held, foreign)
    devices = [device for share in shared for device in share]
    assert len(devices) == len(set(devices)), "a device is shared out twice"
    assert not set(devices) & (held | foreign), "a device in use is shared out"
    for at, (request, share) in enumerate(zip(line, shared, strict=True)):
        assert share == tuple(d for d in request.pool if d in share), "not in the pool's order"
        assert len(share) <= request.count
        usable = [d for d in request.pool if d in held or d not in foreign]
        if len(share) < request.count <= len(usable):
            later = {device for other in shared[at + 1 :] for device in other}
            assert not later & set(request.pool), "a later request overtakes this one"


Step = tuple[str, int, Any]
# All requests have one pool, so that the order of grants is the order of tickets.
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("request"),
            st.integers(0, 2),
            st.dictionaries(st.sampled_from("abc"), requests(st.just(POOL)), max_size=3),
        ),
        st.tuples(st.just("grant"), st.integers(0, 2), st.none()),
        st.tuples(st.just("release"), st.integers(0, 9), st.none()),
        st.tuples(st.just("foreign"), st.just(0), st.sets(st.sampled_from(POOL), max_size=2)),
    ),
    max_size=30,
)


@dataclass
class Room:
    """Three processes with a waiting line each. `foreign`: devices that foreign programs use."""

    lines: list[Line] = field(default_factory=list)
    held: list[leases.Lease] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)

    def grant(self, line: Line) -> None:
        """Call line.grant() and assert that no request that is ahead is overtaken."""
        taken = {device for lease in self.held for device in lease.devices}
        free = set(POOL) - taken - self.foreign
        waiting = {
            ticket: request
            for each in self.lines
            for (ticket, _), request in zip(each.tickets, each.wants.values(), strict=True)
        }
        tickets = {key: name for key, (name, _) in zip(line.wants, line.tickets, strict=True)}
        granted = line.grant()
        for key, lease in granted.items():
            request = waiting[tickets[key]]
            assert len(lease.devices) == request.count
            assert set(lease.devices) <= free, "a device in use is granted"
            ahead = [
                r.count
                for ticket, r in waiting.items()
                if ticket < tickets[key] and r.count <= len(free | taken)
            ]
            # Until a query sees it, a foreign program's device is reserved like a free one.
            unknown = free | self.foreign
            assert sum(ahead) + request.count <= len(unknown), "a request ahead is overtaken"
        devices = [device for lease in granted.values() for device in lease.devices]
        assert len(devices) == len(set(devices)), "a device is granted twice"
        self.held += granted.values()

    def release(self) -> None:
        self.held.pop(0).release()


@contextmanager
def room() -> Iterator[Room]:
    made = Room()
    with (
        ExitStack() as stack,
        TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Each sighting is forgotten at once, and each check is due.
        patch.setattr(leases, "FOREIGN_PAUSE", -1.0)
        patch.setattr(leases, "SECOND_LOOK", -1.0)
        for _ in range(3):
            desk = leases.LeaseDirectory(
                Path(folder), lambda: dict.fromkeys(made.foreign, "train.py")
            )
            made.lines.append(stack.enter_context(waiting_line.Line(desk)))
        yield made
        for lease in made.held:
            lease.release()


@settings(max_examples=60, deadline=None)
@given(steps)
def test_requests_are_served_in_order_and_none_starves(taken: list[Step]) -> None:
    with room() as house:
        for action, number, value in taken:
            if action == "request":
                house.lines[number].set_requests(value)
            elif action == "grant":
                house.grant(house.lines[number])
            elif action == "foreign":
                # A program that starts on a leased device is that lease's server.
                used = {device for lease in house.held for device in lease.devices}
                house.foreign = value - used
            elif house.held:
                house.release()
        house.foreign = set()
        while house.held:
            house.release()
        for _ in range(sum(len(line.wants) for line in house.lines)):
            for line in house.lines:
                house.grant(line)
            while house.held:
                house.release()
        assert not any(line.wants for line in house.lines), "a request starves"


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_does_not_keep_a_sighting_from_being_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary_files, "write", full)
    desk = leases.LeaseDirectory(tmp_path, lambda: {"g0": "train.py (pid 7)"})
    with Line(desk) as line:
        line.set_requests(EITHER)
        assert line.grant()["m"].devices == ("g1",)


@pytest.mark.parametrize("broken", ["query", "owner", "second owner"])
def test_error_in_grant_releases_all_leases(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def foreign() -> dict[str, str]:
        raise Failure("nvidia-smi does not answer")

    desk = leases.LeaseDirectory(tmp_path, foreign if broken == "query" else dict)
    inscribe, calls = leases.Lease.inscribe, []

    def inscribed(lease: leases.Lease, owner: Mapping[str, Any]) -> None:
        calls.append(lease)
        if broken == "owner" or (broken == "second owner" and len(calls) == 2):
            full()
        inscribe(lease, owner)

    monkeypatch.setattr(leases.Lease, "inscribe", inscribed)
    with Line(desk) as line:
        line.set_requests({"m": LeaseRequest(1, ("g0",)), "n": LeaseRequest(1, ("g1",))})
        with pytest.raises((OSError, Failure)):
            line.grant()
        assert leases.LeaseDirectory(tmp_path).holders(("g0", "g1")) == {}


def test_ticket_that_cannot_be_written_leaves_no_ticket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = leases.LeaseDirectory(tmp_path)
    with Line(desk) as line:
        line.set_requests(EITHER)
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            line.set_requests({**EITHER, "n": NARROW})
        monkeypatch.undo()
        assert line.wants == {} and not line.tickets
        line.set_requests(EITHER)
        assert line.grant()["m"].devices == ("g0",)
    assert not desk.names()

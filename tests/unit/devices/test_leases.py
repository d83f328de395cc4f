"""Tests of leases between real processes: atomic, in order, freed when the holder ends, cheap."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from benchy.core import process_info
from benchy.core.errors import Failure
from benchy.devices import leases, waiting_line

LIB = Path(leases.__file__).parents[2]
# Arguments: NAME COUNT POOL HOLD. Prints the acquired devices and holds them for HOLD seconds.
HOLDER = """
import json, os, sys, time, pathlib
from benchy.devices import leases, waiting_line
name, count, pool, hold = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","), float(sys.argv[4])
desk = leases.LeaseDirectory(pathlib.Path(os.environ["DESK"]))
want = leases.LeaseRequest(count, tuple(pool), {"model": name, "pid": os.getpid(), "root": "/here"})
say = lambda words: print("waits", words, flush=True)
held = waiting_line.acquire(desk, want, say, lambda: None)
print("has", name, ",".join(held.devices), time.time(), flush=True)
time.sleep(hold)
print("left", name, time.time(), flush=True)
"""


class Room:
    def __init__(self, path: Path) -> None:
        self.path, self.begun = path, list[subprocess.Popen[str]]()
        self.desk = leases.LeaseDirectory(path)

    def start(self, name: str, count: int, pool: str, hold: float) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": str(LIB), "DESK": str(self.path)}
        words = [sys.executable, "-S", "-c", HOLDER, name, str(count), pool, str(hold)]
        process = subprocess.Popen(words, env=env, text=True, stdout=subprocess.PIPE)
        self.begun.append(process)
        return process

    def waiting(self, number: int) -> None:
        until(lambda: len(self.desk.names()) == number)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    for process in made.begun:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def until(what: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    return process.stdout.readline().split()


def test_waiter_gets_the_device_after_its_holder_and_reports_once(room: Room) -> None:
    first = room.start("a", 1, "g0", 1)
    assert line(first)[:3] == ["has", "a", "g0"]
    second = room.start("b", 1, "g0", 0)
    said = " ".join(line(second))
    assert said.startswith(f"waits g0 is used by a (pid {first.pid}, /here, since ")
    assert line(second)[:3] == ["has", "b", "g0"]
    assert second.wait(5) == 0 and not room.desk.names()


@pytest.mark.parametrize("kill", [True, False])
def test_device_is_free_as_soon_as_its_holder_ends(room: Room, kill: bool) -> None:
    first = room.start("a", 1, "g0", 100 if kill else 0.5)
    assert line(first)[0] == "has"
    second = room.start("b", 1, "g0", 0)
    assert line(second)[0] == "waits"
    if kill:
        first.kill()
    first.wait()
    ended = time.time()
    assert float(line(second)[3]) - ended < 1


def test_dead_waiter_blocks_nobody(room: Room) -> None:
    line(room.start("a", 1, "g0", 100))
    dead = room.start("b", 1, "g0,g1,g2", 100)
    assert line(dead)[0] == "has"  # g1 or g2 is free
    waiter = room.start("c", 3, "g0,g1,g2", 100)
    assert line(waiter)[0] == "waits"
    waiter.kill()
    waiter.wait()
    last = room.start("d", 1, "g0,g1,g2", 0)
    assert line(last)[0] == "has" and last.wait(5) == 0
    assert not room.desk.names()


def test_stopped_waiter_is_overtaken_and_keeps_its_place(room: Room) -> None:
    holder = room.start("a", 1, "g0", 100)
    assert line(holder)[0] == "has"
    first = room.start("first", 1, "g0", 0)
    assert line(first)[0] == "waits"
    second = room.start("second", 1, "g0", 100)
    assert line(second)[0] == "waits"
    first.send_signal(signal.SIGSTOP)
    until(lambda: process_info.stopped(first.pid))
    holder.kill()
    assert line(second)[:2] == ["has", "second"]
    third = room.start("third", 1, "g0", 0)
    assert line(third)[0] == "waits"
    first.send_signal(signal.SIGCONT)
    until(lambda: not process_info.stopped(first.pid))
    second.kill()
    assert line(first)[:2] == ["has", "first"]


def test_stopped_holder_keeps_its_device(room: Room) -> None:
    holder = room.start("a", 1, "g0", 100)
    assert line(holder)[0] == "has"
    holder.send_signal(signal.SIGSTOP)
    until(lambda: process_info.stopped(holder.pid))
    with waiting_line.Line(room.desk) as other:
        other.set_requests({"it": leases.LeaseRequest(1, ("g0",))})
        assert not other.grant()


def test_wide_request_reserves_devices_and_other_pools_overtake_it(room: Room) -> None:
    held = room.start("a", 1, "g0", 2)
    assert line(held)[:3] == ["has", "a", "g0"]
    wide = room.start("wide", 2, "g0,g1", 0.3)
    assert line(wide)[0] == "waits"
    narrow = room.start("narrow", 1, "g0,g1", 0)  # g1 is free, but reserved for the wide request
    assert line(narrow)[0] == "waits"
    pinned = room.start("pinned", 1, "g2", 0)
    assert line(pinned)[:3] == ["has", "pinned", "g2"]
    got = line(wide)
    assert got[:3] == ["has", "wide", "g0,g1"]
    assert float(line(narrow)[3]) >= float(line(wide)[2]) - 0.05


def test_parallel_requests_for_two_devices_neither_deadlock_nor_share(room: Room) -> None:
    pools = ["g0,g1,g2", "g2,g1,g0", "g1,g0,g2", "g2,g0,g1"] * 3
    for number, pool in enumerate(pools):
        room.start(f"m{number}", 2, pool, 0.05)
    spans: dict[str, list[tuple[float, float]]] = {}
    for process in room.begun:
        out, _ = process.communicate(timeout=30)
        has = next(row.split() for row in out.splitlines() if row.startswith("has"))
        left = next(row.split() for row in out.splitlines() if row.startswith("left"))
        for device in has[2].split(","):
            spans.setdefault(device, []).append((float(has[3]), float(left[2])))
    assert sum(map(len, spans.values())) == 2 * len(pools)
    for times in spans.values():
        times.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(times))


def test_many_narrow_requests_do_not_starve_a_wide_one(room: Room) -> None:
    """The wide request is granted when those before it have ended, while others keep arriving."""
    dice = random.Random(5)  # noqa: S311
    pool = "g0,g1,g2,g3"
    hold = 0.4
    for number in range(6):
        room.start(f"n{number}", 1, pool, hold * dice.uniform(0.5, 1.5))
    for narrow in room.begun:  # each holds a device or a ticket, so the wide request is behind them
        assert line(narrow)[0] in ("has", "waits")
    wide = room.start("wide", 4, pool, 0.1)
    assert line(wide)[0] == "waits"
    came: list[subprocess.Popen[str]] = []
    while wide.poll() is None and len(came) < 60:
        came.append(room.start(f"late{len(came)}", 1, pool, hold))
        time.sleep(dice.uniform(0, 0.1))
    got = line(wide)
    assert got[:2] == ["has", "wide"] and wide.wait(5) == 0
    earlier = [
        p for p in came if (first := line(p))[0] == "has" and float(first[3]) < float(got[3])
    ]
    assert not earlier
    assert len(came) < 60


def test_one_process_orders_its_own_requests(tmp_path: Path) -> None:
    desk, other = leases.LeaseDirectory(tmp_path), leases.LeaseDirectory(tmp_path)
    with waiting_line.Line(desk) as line, waiting_line.Line(other) as theirs:
        one = leases.LeaseRequest(1, ("g0",))
        line.set_requests({"short": one})
        theirs.set_requests({"stranger": one})
        line.set_requests(
            {"long": one, "short": one}
        )  # the longer one goes first, although it is newer
        first = line.grant()
        assert list(first) == ["long"] and not theirs.grant()
        assert line.wants == {"short": one}
        first["long"].release()
        # "short" has the newer ticket now, so "stranger" is ahead of it.
        assert not line.grant()
        second = theirs.grant()
        assert list(second) == ["stranger"]
        second["stranger"].release()
        assert list(line.grant()) == ["short"]
    assert not desk.names()


def test_random_requests_are_all_granted_and_never_share(tmp_path: Path) -> None:
    """Ten waiting lines share eight devices. Each request gets its full count, and none is lost."""
    dice = random.Random(11)  # noqa: S311
    devices = [f"g{number}" for number in range(8)]
    lines = [waiting_line.Line(leases.LeaseDirectory(tmp_path)) for _ in range(10)]
    wants: list[dict[str, leases.LeaseRequest]] = []
    for at in range(len(lines)):
        mine = {}
        for number in range(6):
            pool = tuple(dice.sample(devices, dice.choice([8, 8, 4])))
            mine[f"{at}-{number}"] = leases.LeaseRequest(dice.choice([1, 1, 2, 4]), pool)
        wants.append(mine)
    waiting = [dict(mine) for mine in wants]
    held: list[tuple[int, leases.Lease]] = []
    for moment in range(2000):
        for at, line in enumerate(lines):
            line.set_requests(dict(dice.sample(sorted(waiting[at].items()), len(waiting[at]))))
            for key, got in line.grant().items():
                assert len(set(got.devices)) == waiting[at].pop(key).count
                held.append((moment + dice.randrange(1, 6), got))
        names = [device for _, got in held for device in got.devices]
        assert len(names) == len(set(names))
        for over in [row for row in held if row[0] <= moment]:
            held.remove(over)
            over[1].release()
        if not any(waiting) and not held:
            break
    assert not any(waiting) and not held
    for line in lines:
        line.set_requests({})
        line.watch.close()


def test_device_that_others_are_pinned_to_is_taken_last(room: Room) -> None:
    line(room.start("a", 1, "g0", 100))
    other = room.start("b", 1, "g1", 100)
    line(other)
    pinned = room.start("pinned", 1, "g0", 0)
    assert line(pinned)[0] == "waits"
    either = room.start("either", 1, "g0,g1", 0)
    assert line(either)[0] == "waits"
    other.kill()
    assert line(either)[2] == "g1"


def test_hundred_waiters_use_little_cpu_and_memory(room: Room) -> None:
    holder = room.start("a", 1, "g0", 100)
    assert line(holder)[0] == "has"
    waiters = [room.start(f"w{number}", 1, "g0", 0) for number in range(100)]
    until(lambda: len(room.desk.names()) == 100, 60)
    for waiter in waiters:
        line(waiter)
    time.sleep(0.5)

    def used() -> float:
        return sum(sum(psutil.Process(w.pid).cpu_times()[:2]) for w in waiters)

    before, begun = used(), time.monotonic()
    time.sleep(4)
    # All 100 processes together. About one a second wakes up, which takes about 30 ms on a slow
    # machine. tests/build/test_schedule.py tests that 100 models of one run cost less than 1 %.
    assert (used() - before) / (time.monotonic() - begun) < 0.05
    assert psutil.Process(waiters[0].pid).memory_info().rss < 40 << 20


def look(seen: list[dict[str, str]]) -> Callable[[], Mapping[str, str]]:
    return lambda: seen.pop(0) if len(seen) > 1 else seen[0]


def test_devices_of_foreign_programs_are_avoided_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "FOREIGN_PAUSE", 0.3)
    busy = {"g0": "train.py (pid 7, 9000 MiB)"}
    said: list[str] = []
    desk = leases.LeaseDirectory(tmp_path, look([busy]))
    held = waiting_line.acquire(
        desk, leases.LeaseRequest(1, ("g0", "g1")), said.append, lambda: None
    )
    assert held.devices == ("g1",) and not said
    held.release()
    desk = leases.LeaseDirectory(tmp_path, look([busy, busy, busy, {}]))
    held = waiting_line.acquire(desk, leases.LeaseRequest(1, ("g0",)), said.append, lambda: None)
    assert held.devices == ("g0",) and said == ["g0 is used by train.py (pid 7, 9000 MiB)"]
    held.release()


def test_memory_freed_a_moment_later_is_not_foreign(tmp_path: Path) -> None:
    said: list[str] = []
    desk = leases.LeaseDirectory(tmp_path, look([{"g0": "gone (pid 7)"}, {}]))
    assert waiting_line.acquire(
        desk, leases.LeaseRequest(1, ("g0",)), said.append, lambda: None
    ).devices == ("g0",)
    assert not said


def test_request_that_waits_for_a_foreign_program_reserves_nothing() -> None:
    wide, narrow = leases.LeaseRequest(2, ("g0", "g1")), leases.LeaseRequest(1, ("g0", "g1"))
    assert leases.shares([wide, narrow], set(), set())[1] == ()
    assert leases.shares([wide, narrow], set(), {"g0"})[1] == ("g1",)


def test_undetected_foreign_program_does_not_keep_devices_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign program uses g0, g1 is leased, and the first request wants all four devices.

    No lease can be granted, so only idle devices cause the query for foreign programs. Then g2
    and g3 go to other requests.
    """
    monkeypatch.setattr(leases, "FOREIGN_PAUSE", 0.4)
    monkeypatch.setattr(leases, "SECOND_LOOK", 0.1)
    looks = []

    def foreign() -> dict[str, str]:
        looks.append(time.monotonic())
        return {"g0": "train.py (pid 7)", "g1": "our own server (pid 8)"}

    four = ("g0", "g1", "g2", "g3")
    ours = waiting_line.acquire(
        leases.LeaseDirectory(tmp_path), leases.LeaseRequest(1, ("g1",)), print, lambda: None
    )
    desk = leases.LeaseDirectory(tmp_path, foreign)
    with (
        waiting_line.Line(desk) as wide,
        waiting_line.Line(leases.LeaseDirectory(tmp_path, foreign)) as narrow,
    ):
        wide.set_requests({"wide": leases.LeaseRequest(4, four)})
        narrow.set_requests({"narrow": leases.LeaseRequest(1, four)})
        assert not wide.grant() and not narrow.grant()  # the memory on g0 may be freed in a moment
        assert narrow.pause() == 0.1 and len(looks) == 2
        time.sleep(0.1)
        assert not wide.grant()
        assert "g0 is used by train.py (pid 7)" in wide.reason()
        assert narrow.grant()["narrow"].devices == ("g2",)
        asked = len(looks)
        for _ in range(50):
            assert not wide.grant()
        assert len(looks) == asked
    ours.release()


def test_memory_freed_a_moment_later_keeps_the_reservation(tmp_path: Path) -> None:
    """A server of ours on g0 has just ended, and its memory is still in use for a moment.

    The devices stay reserved for the wide request.
    """
    seen = [{"g0": "gone (pid 7)"}, {}]
    desk = leases.LeaseDirectory(tmp_path, look(seen))
    ours = waiting_line.acquire(
        leases.LeaseDirectory(tmp_path), leases.LeaseRequest(1, ("g1",)), print, lambda: None
    )
    both = ("g0", "g1", "g2")
    with waiting_line.Line(desk) as line:
        line.set_requests(
            {"wide": leases.LeaseRequest(3, both), "narrow": leases.LeaseRequest(1, both)}
        )
        assert not line.grant() and line.pause() == leases.SECOND_LOOK and not line.reason()
        time.sleep(leases.SECOND_LOOK)
        assert not line.grant()
        assert len(seen) == 1 and line.sighting is waiting_line.Sighting.NONE
        ours.release()
        assert list(line.grant()) == ["wide"]


@pytest.mark.parametrize("pool", [("g3", "g0"), ("g0", "g3")])
def test_waiter_holds_no_device_in_any_pool_order(tmp_path: Path, pool: tuple[str, str]) -> None:
    """A waiter never holds one device while it waits for another."""
    desk = leases.LeaseDirectory(tmp_path, lambda: {"g3": "train.py (pid 7)"})
    with waiting_line.Line(desk) as line:
        line.set_requests({"pinned": leases.LeaseRequest(2, pool)})
        for _ in range(3):
            assert not line.grant()
            assert not desk.holders(pool)
    (tmp_path / "strangers").unlink()
    rogue = os.open(tmp_path / "g3", os.O_RDWR | os.O_CREAT)  # takes the flock without the mutex
    fcntl.flock(rogue, fcntl.LOCK_EX)
    with waiting_line.Line(leases.LeaseDirectory(tmp_path)) as line:
        line.set_requests({"pinned": leases.LeaseRequest(2, pool)})
        assert not line.grant() and list(desk.holders(pool)) == ["g3"]
        os.close(rogue)
        assert line.grant()["pinned"].devices == pool


DIRECTORIES = [
    ({"BENCHY_LEASES": "{0}/a", "XDG_RUNTIME_DIR": "{0}/b"}, "a"),
    ({"XDG_RUNTIME_DIR": "{0}/b", "HOME": "{0}", "TMPDIR": "{0}/c"}, "tmp/benchy-{1}"),  # a login
    ({}, "tmp/benchy-{1}"),  # cron
]


@pytest.mark.parametrize(("given", "where"), DIRECTORIES)
def test_lease_directory_is_the_same_for_every_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], where: str
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(leases, "TMP", tmp_path / "tmp")
    path = leases.directory({k: v.format(tmp_path) for k, v in given.items()})
    assert path.parent == tmp_path / where.format(tmp_path, os.getuid())
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["open to all", "a link", "a file"])
def test_lease_directory_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(leases, "TMP", tmp_path)
    path = tmp_path / f"benchy-{os.getuid()}"
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        path.symlink_to("elsewhere")
    elif kind == "a file":
        path.touch()
    else:
        path.mkdir()
        path.chmod(0o777)
    with pytest.raises(Failure, match="not a directory that only this user can write to"):
        leases.directory({})


def test_lock_files_have_the_sticky_bit(tmp_path: Path) -> None:
    """systemd-tmpfiles does not delete such files, as the XDG specification says."""
    desk = leases.LeaseDirectory(tmp_path)
    held = waiting_line.acquire(desk, leases.LeaseRequest(1, ("g0",)), print, lambda: None)
    assert (tmp_path / "g0").stat().st_mode & stat.S_ISVTX
    held.release()


def test_lease_descriptors_are_not_inherited(tmp_path: Path) -> None:
    desk = leases.LeaseDirectory(tmp_path)
    held = waiting_line.acquire(desk, leases.LeaseRequest(1, ("g0",)), print, lambda: None)
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE,
                             close_fds=False)  # fmt: skip
    held.release()
    # vfork returns a moment before exec closes the child's copies.
    until(lambda: not desk.holders(["g0"]), 1)
    assert child.poll() is None
    child.communicate(b"\n")
    assert json.loads((tmp_path / "g0").read_text())["since"]

"""Tests of leases between real processes: atomic, in order, freed when the holder ends, cheap."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchy.core import process_info
from benchy.devices import leases, waiting_line

LIB = Path(leases.__file__).parents[2]
# Arguments: NAME COUNT POOL HOLD. Prints the acquired devices and holds them for HOLD seconds, or
# until its standard input ends.
HOLDER = """
import json, os, select, sys, time, pathlib
from benchy.devices import leases, waiting_line
name, count, pool, hold = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","), float(sys.argv[4])
desk = leases.LeaseDirectory(pathlib.Path(os.environ["DESK"]))
want = leases.LeaseRequest(count, tuple(pool), {"model": name, "pid": os.getpid(), "root": "/here"})
say = lambda words: print("waits", words, flush=True)
held = waiting_line.acquire(desk, want, say, lambda: None)
print("has", name, ",".join(held.devices), time.time(), flush=True)
select.select([sys.stdin], [], [], hold)
print("left", name, time.time(), flush=True)
"""


class Room:
    def __init__(self, path: Path) -> None:
        self.path, self.begun = path, list[subprocess.Popen[str]]()
        self.desk = leases.LeaseDirectory(path)

    def start(self, name: str, count: int, pool: str, hold: float) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": str(LIB), "DESK": str(self.path)}
        words = [sys.executable, "-S", "-c", HOLDER, name, str(count), pool, str(hold)]
        process = subprocess.Popen(
            words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
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
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def until(what: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    return process.stdout.readline().split()


def finish(process: subprocess.Popen[str]) -> None:
    """Let a holder give its devices back."""
    assert process.stdin
    process.stdin.close()


def test_waiter_gets_the_device_after_its_holder_and_reports_once(room: Room) -> None:
    first = room.start("a", 1, "g0", 100)
    assert line(first)[:3] == ["has", "a", "g0"]
    second = room.start("b", 1, "g0", 0)
    said = " ".join(line(second))
    assert said.startswith(f"waits g0 is used by a (pid {first.pid}, /here, since ")
    finish(first)
    assert line(second)[:3] == ["has", "b", "g0"]
    assert second.wait(5) == 0 and not room.desk.names()


@pytest.mark.parametrize("kill", [True, False])
def test_device_is_free_as_soon_as_its_holder_ends(room: Room, kill: bool) -> None:
    first = room.start("a", 1, "g0", 100)
    assert line(first)[0] == "has"
    second = room.start("b", 1, "g0", 0)
    assert line(second)[0] == "waits"
    first.kill() if kill else finish(first)
    first.wait()
    ended = time.time()
    assert float(line(second)[3]) - ended < 5  # without a report it checks after 10 s


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
    held = room.start("a", 1, "g0", 100)
    assert line(held)[:3] == ["has", "a", "g0"]
    wide = room.start("wide", 2, "g0,g1", 0.3)
    assert line(wide)[0] == "waits"
    narrow = room.start("narrow", 1, "g0,g1", 0)  # g1 is free, but reserved for the wide request
    assert line(narrow)[0] == "waits"
    pinned = room.start("pinned", 1, "g2", 0)
    assert line(pinned)[:3] == ["has", "pinned", "g2"]
    finish(held)
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


@pytest.mark.timeout(120)
def test_many_narrow_requests_do_not_starve_a_wide_one(room: Room) -> None:
    """The wide request is granted when those before it have ended, while others keep arriving.

    Each narrow request keeps its device until it is killed. If one that arrived later got a device,
    the wide request would never be granted, and the test would time out.
    """
    dice = random.Random(5)  # noqa: S311
    pool = "g0,g1,g2,g3"
    narrow = [room.start(f"n{number}", 1, pool, 1000) for number in range(6)]
    first = {process: line(process)[0] for process in narrow}
    assert sorted(first.values()) == ["has"] * 4 + ["waits"] * 2
    holders = [process for process in narrow if first[process] == "has"]
    queued = [process for process in narrow if first[process] == "waits"]
    wide = room.start("wide", 4, pool, 1000)
    assert line(wide)[0] == "waits"
    late: list[subprocess.Popen[str]] = []

    def others_arrive() -> None:
        for _ in range(dice.randint(1, 2)):
            late.append(room.start(f"late{len(late)}", 1, pool, 1000))
            time.sleep(dice.uniform(0, 0.05))

    for holder in holders[:2]:
        others_arrive()
        holder.kill()
    for process in queued:  # those before the wide request get their devices
        assert line(process)[0] == "has"
    for holder in dice.sample(holders[2:] + queued, 4):
        others_arrive()
        holder.kill()
        others_arrive()
    assert line(wide)[:3] == ["has", "wide", pool]
    assert {line(process)[0] for process in late} == {"waits"}


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


@pytest.mark.slow
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


def test_lease_descriptors_are_not_inherited(tmp_path: Path) -> None:
    desk = leases.LeaseDirectory(tmp_path)
    held = waiting_line.acquire(desk, leases.LeaseRequest(1, ("g0",)), print, lambda: None)
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE,
                             close_fds=False)  # fmt: skip
    held.release()
    # vfork returns a moment before exec closes the child's copies.
    until(lambda: not desk.holders(["g0"]))
    assert child.poll() is None
    child.communicate(b"\n")
    assert json.loads((tmp_path / "g0").read_text())["since"]

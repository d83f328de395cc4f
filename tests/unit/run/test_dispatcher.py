"""The stages of a run, with sleeps as commands: which stage waits for which."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import specs
from benchy.core.specs import ModelEntry
from benchy.devices import allocation, gpu, inotify, leases, waiting_line
from benchy.environments import health
from benchy.run import dispatcher, questions


class House:
    """Models m0, m1, … whose commands are shell lines that write times to a journal."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = folder / "journal"
        self.built: set[str] = {"ready"}
        self.models: dict[str, ModelEntry] = {}
        self.needs: dict[str, allocation.Need] = {}
        self.served: set[str] = set()
        self.build_seconds = self.fetch_seconds = 0.0
        self.serve_seconds = 0.5
        self.status: dict[str, int] = {}
        self.planned = 0
        monkeypatch.setenv("BENCHY_LEASES", str(folder / "leases"))
        monkeypatch.setattr(health, "well", self.well)
        monkeypatch.setattr(gpu, "gpus", list)

    def well(self, env: str) -> bool:
        return env in self.built or any(w == f"end environment/{env}" for w, _ in self.told())

    def add(self, name: str, env: str = "ready", count: int = 1, pool: int = 2) -> None:
        self.models[name] = specs.model(asked=env, environment=env, harnesses=["ready"])
        names = {f"gpu-{number}": str(number) for number in range(pool)}
        self.needs[name] = allocation.Need(
            leases.LeaseRequest(count, tuple(names), {"model": name}), names
        )

    def line(self, what: str, seconds: float, status: int = 0) -> list[str]:
        say = f"echo {shlex.quote(what)} $(date +%s.%N) >> {self.journal}"
        script = f"{say.replace(what, 'begin ' + what)}; sleep {seconds}; "
        return ["sh", "-c", script + f"{say.replace(what, 'end ' + what)}; exit {status}"]

    def plan(self) -> dict[str, ModelEntry]:
        self.planned += 1
        return self.models

    def stale(self, name: str) -> list[str]:
        return [] if any(w == f"end serve {name}" for w, _ in self.told()) else [name]

    def run(self, order: Sequence[str], jobs: int | None, fetch_only: bool = False) -> set[str]:
        ask = questions.Questions(
            self.plan,
            self.stale,
            lambda target: self.line(
                target, 0.1 if target == "environment/ready" else self.build_seconds
            ),
            lambda name: self.line(f"fetch {name}", self.fetch_seconds),
            lambda name, _: self.line(
                f"serve {name}", self.serve_seconds, self.status.get(name, 0)
            ),
        )
        run = dispatcher.Dispatcher(
            ask, self.models, self.needs, jobs, dict(os.environ), fetch_only=fetch_only
        )
        asyncio.run(run.run(order))
        return run.failed

    def told(self) -> list[tuple[str, float]]:
        if not self.journal.exists():
            return []
        rows = (row.rpartition(" ") for row in self.journal.read_text().splitlines())
        return [(what, float(when)) for what, _, when in rows]

    def times(self) -> dict[str, float]:
        return dict(self.told())


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


def at_once(told: Sequence[tuple[str, float]], kind: str) -> int:
    most = now = 0
    for what, _ in sorted(told, key=lambda row: row[1]):
        if what.split()[1].startswith(kind):
            now += 1 if what.startswith("begin") else -1
            most = max(most, now)
    return most


@pytest.mark.parametrize(("jobs", "expected"), [(1, 1), (2, 2), (6, 2), (None, 2)])
def test_jobs_and_devices_limit_how_many_models_are_served(
    house: House, jobs: int | None, expected: int
) -> None:
    """If models waited in Make's job slots, -j2 would take 15.1 s instead of 3.1 s."""
    names = [f"m{number}" for number in range(6)]
    for name in names:
        house.add(name)
    begun = time.monotonic()
    assert house.run(names, jobs) == set()
    spent = time.monotonic() - begun
    assert at_once(house.told(), "serve") == expected
    assert spent < 6 / expected * house.serve_seconds + 2.5  # the machine may be busy
    began = [w for w, _ in sorted(house.told(), key=lambda r: r[1]) if w.startswith("begin serve")]
    if jobs == 1:
        assert began == [f"begin serve {name}" for name in names]


def test_model_does_not_wait_for_the_environment_of_another(house: House) -> None:
    house.build_seconds = 2
    for number in range(4):
        house.add(f"slow{number}", env=f"e{number}")
        house.add(f"m{number}")
    order = sorted(house.models, reverse=True)  # the slow ones come first
    house.serve_seconds = 0.2
    assert house.run(order, 2) == set()
    times = house.times()
    first = min(when for what, when in times.items() if what.startswith("end environment/e"))
    assert all(times[f"begin serve m{number}"] < first for number in range(4))
    assert at_once(house.told(), "environment/") == 2
    # `ready` is whole and Make reports it as up to date, so no process checks it again.
    assert sum(w == "begin environment/ready" for w, _ in house.told()) == 0


def test_builds_continue_while_more_models_wait_than_jobs(house: House) -> None:
    for number in range(5):
        house.add(f"m{number}", pool=1)
    house.add("late", env="e", pool=1)
    house.serve_seconds, house.build_seconds = 1, 0.3
    assert house.run([*(f"m{number}" for number in range(5)), "late"], 1) == set()
    times = house.times()
    assert times["end environment/e"] < times["begin serve m3"]
    assert times["end fetch late"] < times["begin serve m4"]


def test_order_holds_for_a_model_that_becomes_ready_late(house: House) -> None:
    house.add("first", pool=1)
    house.add("short", pool=1)
    house.add("long", env="e", pool=1)
    house.serve_seconds, house.build_seconds = 1.5, 0.3
    assert house.run(["long", "first", "short"], None) == set()
    times = house.times()
    served = sorted(("first", "short", "long"), key=lambda name: times[f"begin serve {name}"])
    assert served[1] == "long"  # one of the others got the GPU before it was ready


def test_failure_of_a_model_does_not_stop_the_others(house: House) -> None:
    for name in ("a", "b", "c"):
        house.add(name)
    house.serve_seconds, house.status = 0.1, {"b": 1}
    assert house.run(["a", "b", "c"], 2) == {"b"}
    assert {"end serve a", "end serve c"} <= house.times().keys()


def test_without_inotify_the_waiting_line_polls(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(inotify.Watch):
        def __init__(self, path: Path) -> None:
            self.descriptor, self.again = -1, []

    monkeypatch.setattr(waiting_line, "Watch", Blind)
    for name in ("a", "b", "c"):
        house.add(name)
    house.serve_seconds = 0.2
    assert house.run(["a", "b", "c"], None) == set()
    assert at_once(house.told(), "serve") == 2


def test_fetching_takes_no_device(house: House) -> None:
    for name in ("a", "b", "c"):
        house.add(name)
    house.fetch_seconds = 0.2
    assert house.run(["a", "b", "c"], None, fetch_only=True) == set()
    assert at_once(house.told(), "fetch") == 2
    assert not [what for what in house.times() if "serve" in what]


def test_model_without_a_job_slot_blocks_no_device(house: House) -> None:
    """At -j1 on two GPUs, the model of another make gets the second GPU."""
    for name in ("a", "b", "c"):
        house.add(name)
    house.serve_seconds = 1.5

    async def both() -> float:
        loop = asyncio.get_running_loop()
        ask = questions.Questions(
            house.plan, house.stale, list, lambda n: ["true"],
            lambda name, _: house.line(f"serve {name}", house.serve_seconds),
        )  # fmt: skip
        run = dispatcher.Dispatcher(ask, house.models, house.needs, 1, dict(os.environ))
        house.built.update(["e"])
        ask_nothing = questions.Questions(
            house.plan, house.stale, lambda t: ["true"], lambda n: ["true"], ask.serving
        )
        run.ask = ask_nothing
        task = asyncio.ensure_future(run.run(["a", "b", "c"]))
        while "begin serve a" not in house.times():
            await asyncio.sleep(0.05)
        begun = loop.time()
        want = leases.LeaseRequest(1, ("gpu-0", "gpu-1"), {"model": "other", "pid": 1})
        desk = leases.LeaseDirectory(leases.directory())
        held = await asyncio.to_thread(waiting_line.acquire, desk, want, print, lambda: None)
        waited = loop.time() - begun
        held.release()
        await task
        return waited

    assert asyncio.run(both()) < 1

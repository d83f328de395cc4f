"""The stages of a run, with sleeps as commands: which stage waits for which."""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

import specs
from benchy.core.specs import ModelEntry
from benchy.devices import allocation, gpu, inotify, leases, waiting_line
from benchy.environments import health
from benchy.run.current_plan import CurrentPlan
from benchy.run.dispatcher import Dispatcher
from benchy.run.settings import RunSettings


class Pipeline:
    """Models m0, m1, … whose commands are shell lines that write times to a journal."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = folder / "journal"
        self.built: set[str] = {"ready"}
        self.models: dict[str, ModelEntry] = {}
        self.needs: dict[str, allocation.DeviceNeed] = {}
        self.served: set[str] = set()
        self.build_seconds = self.fetch_seconds = 0.0
        self.serve_seconds = 0.5
        self.until: dict[str, Sequence[str]] = {}  # command → rows that it waits for
        self.status: dict[str, int] = {}
        self.planned = 0
        monkeypatch.chdir(folder)  # where the models' locks are
        monkeypatch.setenv("BENCHY_LEASES", str(folder / "leases"))
        monkeypatch.setattr(health, "intact", self.intact)
        monkeypatch.setattr(gpu, "gpus", list)

    def intact(self, env: str) -> bool:
        return env in self.built or any(
            w == f"end environment/{env}" for w, _ in self.journal_rows()
        )

    def add(self, name: str, env: str = "ready", count: int = 1, pool: int = 2) -> None:
        self.models[name] = specs.model(asked=env, environment=env, harnesses=["ready"])
        names = {f"gpu-{number}": str(number) for number in range(pool)}
        self.needs[name] = allocation.DeviceNeed(
            leases.LeaseRequest(count, tuple(names), {"model": name}), names
        )

    def line(self, what: str, seconds: float, status: int = 0) -> list[str]:
        say = f"echo {shlex.quote(what)} $(date +%s.%N) >> {self.journal}"
        script = f"{say.replace(what, 'begin ' + what)}; sleep {seconds}; "
        for row in self.until.get(what, ()):  # at most a minute, so that a failing test ends
            found = f"grep -q {shlex.quote(f'^{row} ')} {self.journal}"
            script += f"for _ in $(seq 600); do {found} && break; sleep 0.1; done; "
        return ["sh", "-c", script + f"{say.replace(what, 'end ' + what)}; exit {status}"]

    def plan(self) -> dict[str, ModelEntry]:
        self.planned += 1
        return self.models

    def stale(self, model: str) -> list[str]:
        return [] if any(w == f"end serve {model}" for w, _ in self.journal_rows()) else [model]

    def command(self, target: str) -> list[str]:
        return self.line(target, 0.1 if target == "environment/ready" else self.build_seconds)

    def fetching(self, model: str) -> list[str]:
        return self.line(f"fetch {model}", self.fetch_seconds)

    def serving(self, model: str, targets: Sequence[str]) -> list[str]:
        return self.line(f"serve {model}", self.serve_seconds, self.status.get(model, 0))

    def run(self, order: Sequence[str], jobs: int | None, fetch_only: bool = False) -> set[str]:
        run = self.dispatcher(jobs, fetch_only)
        asyncio.run(run.run(order))
        return run.failed

    def dispatcher(self, jobs: int | None, fetch_only: bool = False) -> Dispatcher:
        settings = RunSettings(self, self.needs, jobs, dict(os.environ), fetch_only=fetch_only)
        return Dispatcher(settings, CurrentPlan(self, self.models))

    def journal_rows(self) -> list[tuple[str, float]]:
        if not self.journal.exists():
            return []
        rows = (row.rpartition(" ") for row in self.journal.read_text().splitlines())
        return [(what, float(when)) for what, _, when in rows]

    def times(self) -> dict[str, float]:
        return dict(self.journal_rows())


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    return Pipeline(tmp_path, monkeypatch)


def at_once(rows: Sequence[tuple[str, float]], kind: str) -> int:
    most = now = 0
    for what, _ in sorted(rows, key=lambda row: row[1]):
        if what.split()[1].startswith(kind):
            now += 1 if what.startswith("begin") else -1
            most = max(most, now)
    return most


@pytest.mark.parametrize(("jobs", "expected"), [(1, 1), (2, 2), (6, 2), (None, 2)])
def test_jobs_and_devices_limit_how_many_models_are_served(
    pipeline: Pipeline, jobs: int | None, expected: int
) -> None:
    names = [f"m{number}" for number in range(6)]
    for name in names:
        pipeline.add(name)
    pipeline.serve_seconds = 0.1
    if expected == 2:  # each waits for the next but the last, so two are served all the time
        pairs = itertools.pairwise(names)
        pipeline.until = {f"serve {name}": [f"begin serve {after}"] for name, after in pairs}
    assert pipeline.run(names, jobs) == set()
    assert at_once(pipeline.journal_rows(), "serve") == expected
    began = [
        w
        for w, _ in sorted(pipeline.journal_rows(), key=lambda r: r[1])
        if w.startswith("begin serve")
    ]
    if jobs == 1:
        assert began == [f"begin serve {name}" for name in names]


def test_model_does_not_wait_for_the_environment_of_another(pipeline: Pipeline) -> None:
    served = [f"begin serve m{number}" for number in range(4)]
    for number in range(4):
        pipeline.until[f"environment/e{number}"] = served
        pipeline.add(f"slow{number}", env=f"e{number}")
        pipeline.add(f"m{number}")
    order = sorted(pipeline.models, reverse=True)  # the slow ones come first
    pipeline.serve_seconds = 0.2
    assert pipeline.run(order, 2) == set()
    times = pipeline.times()
    first = min(when for what, when in times.items() if what.startswith("end environment/e"))
    assert all(times[f"begin serve m{number}"] < first for number in range(4))
    assert at_once(pipeline.journal_rows(), "environment/") == 2
    # `ready` is whole and Make reports it as up to date, so no process checks it again.
    assert sum(w == "begin environment/ready" for w, _ in pipeline.journal_rows()) == 0


def test_builds_continue_while_more_models_wait_than_jobs(pipeline: Pipeline) -> None:
    for number in range(5):
        pipeline.add(f"m{number}", pool=1)
    pipeline.add("late", env="e", pool=1)
    pipeline.serve_seconds, pipeline.build_seconds = 0.1, 0.3
    pipeline.until = {"serve m2": ["end environment/e"], "serve m3": ["end fetch late"]}
    assert pipeline.run([*(f"m{number}" for number in range(5)), "late"], 1) == set()
    times = pipeline.times()
    assert times["end environment/e"] < times["begin serve m3"]
    assert times["end fetch late"] < times["begin serve m4"]


def test_order_holds_for_a_model_that_becomes_ready_late(pipeline: Pipeline) -> None:
    pipeline.add("first", pool=1)
    pipeline.add("short", pool=1)
    pipeline.add("long", env="e", pool=1)
    pipeline.serve_seconds, pipeline.build_seconds = 1.5, 0.3
    pipeline.until = {f"serve {name}": ["end fetch long"] for name in ("first", "short")}
    assert pipeline.run(["long", "first", "short"], None) == set()
    times = pipeline.times()
    served = sorted(("first", "short", "long"), key=lambda name: times[f"begin serve {name}"])
    assert served[1] == "long"  # one of the others got the GPU before it was ready


def test_failure_of_a_model_does_not_stop_the_others(pipeline: Pipeline) -> None:
    for name in ("a", "b", "c"):
        pipeline.add(name)
    pipeline.serve_seconds, pipeline.status = 0.1, {"b": 1}
    assert pipeline.run(["a", "b", "c"], 2) == {"b"}
    assert {"end serve a", "end serve c"} <= pipeline.times().keys()


def test_without_inotify_the_waiting_line_polls(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(inotify.Watch):
        def __init__(self, path: Path) -> None:
            self.descriptor, self.wakeups = -1, []

    monkeypatch.setattr(waiting_line, "Watch", Blind)
    for name in ("a", "b", "c"):
        pipeline.add(name)
    pipeline.until = {"serve a": ["begin serve b"]}
    assert pipeline.run(["a", "b", "c"], None) == set()
    assert at_once(pipeline.journal_rows(), "serve") == 2


def test_fetching_takes_no_device(pipeline: Pipeline) -> None:
    for name in ("a", "b", "c"):
        pipeline.add(name)
    pipeline.until = {"fetch a": ["begin fetch b"]}
    assert pipeline.run(["a", "b", "c"], None, fetch_only=True) == set()
    assert at_once(pipeline.journal_rows(), "fetch") == 2
    assert not [what for what in pipeline.times() if "serve" in what]


def test_model_without_a_job_slot_blocks_no_device(pipeline: Pipeline) -> None:
    """At -j1 on two GPUs, the model of another make gets the second GPU."""
    for name in ("a", "b", "c"):
        pipeline.add(name)
    pipeline.until = {"serve a": ["acquired"]}

    async def both() -> None:
        run = pipeline.dispatcher(1)
        task = asyncio.ensure_future(run.run(["a", "b", "c"]))
        while "begin serve a" not in pipeline.times():
            await asyncio.sleep(0.05)
        want = leases.LeaseRequest(1, ("gpu-0", "gpu-1"), {"model": "other", "pid": 1})
        desk = leases.LeaseDirectory(leases.directory())
        held = await asyncio.to_thread(waiting_line.acquire, desk, want, print, lambda: None)
        with pipeline.journal.open("a") as journal:
            journal.write("acquired 0\n")
        held.release()
        await task

    asyncio.run(both())
    times = pipeline.times()
    assert times["end serve a"] - times["begin serve a"] < 60, "the other waited for the model"

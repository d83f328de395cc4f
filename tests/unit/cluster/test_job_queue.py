"""Tests of a launcher's jobs: which are ours, how they ended, which are canceled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchy.cluster import job_queue, jobs, launcher
from benchy.cluster.job_queue import Queue
from benchy.cluster.jobs import UNKNOWN, QueuedJob
from benchy.cluster.launcher import JobLauncher
from benchy.core import process_info
from benchy.core.errors import Failure
from benchy.display import activity

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(job_queue, "POLL", 0.01)


@pytest.fixture
def slurm() -> JobLauncher:
    return launcher.load("slurm")


class Told:
    """A fake squeue, sacct and scancel for job 1 of model m.

    states: the job's state in each answer of squeue; the last one repeats. "" means that the queue
    does not list the job, None that squeue fails. called: the jobs that scancel got.
    """

    def __init__(self, slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch, *states: str | None):
        self.slurm, self.states, self.asked = slurm, list(states), 0
        self.called: list[str] = []
        self.records = ""
        monkeypatch.setattr(Queue, "answer", lambda queue, words, job="": self.answer(words, job))

    def answer(self, words: list[str], job: str) -> str:
        if words == self.slurm.config.cancel:
            self.called.append(job)
            return ""
        if words == self.slurm.config.past:
            return self.records
        self.asked += 1
        state = self.states[0] if len(self.states) == 1 else self.states.pop(0)
        if state is None:
            raise Failure("squeue: Unable to contact slurm controller")
        return f"1|{state}|n1|None|{self.slurm.mark}:m\n" if state else ""


def watched(slurm: JobLauncher, what: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine beside the queue's watch and return its result."""

    async def both() -> Any:
        watch = asyncio.ensure_future(slurm.queue.watch())
        try:
            return await asyncio.wait_for(what, 20)
        finally:
            watch.cancel()

    return asyncio.run(both())


def test_parse_keeps_only_jobs_of_benchy(slurm: JobLauncher) -> None:
    text = (
        "12|RUNNING|n1|None|benchy:aaa:host:7.99:Qwen3-8B\n"
        "13|PENDING||Resources|benchy:aaa:host:7.99:m@0.8.5+x\n"
        "14|RUNNING|n1|None|\n15|RUNNING|n2|None|somebody: else\nsqueue: odd line\n"
    )
    assert jobs.parse(text) == [
        QueuedJob("12", "RUNNING", "n1", "None", "benchy:aaa:host:7.99", "Qwen3-8B"),
        QueuedJob("13", "PENDING", "", "Resources", "benchy:aaa:host:7.99", "m@0.8.5+x"),
    ]
    assert [job.full_text for job in jobs.parse(text)] == [
        "job 12: RUNNING on n1", "job 13: PENDING (Resources)",
    ]  # fmt: skip


BECAME = [
    # A slow epilog during which slurmctld is unreachable. `ended` waits for both.
    (["RUNNING", *["COMPLETING"] * 20, None, None, "TIMEOUT"], "TIMEOUT", False),
    ([None, None, "RUNNING", "COMPLETING", "PREEMPTED"], "PREEMPTED", False),
    (["FAILED"], "FAILED", False),
    # The job continues although its command was killed.
    (["RUNNING", "RUNNING", "RUNNING", "RUNNING", "RUNNING", "COMPLETING", "CANCELLED"],
     "CANCELLED", True),
    (["PENDING"] * 5 + ["CANCELLED"], "CANCELLED", True),
    # The queue no longer lists the job.
    (["RUNNING", ""], UNKNOWN, False),
    ([""], None, False),
]  # fmt: skip


@pytest.mark.parametrize(("states", "expected", "stray"), BECAME)
def test_ended_returns_the_final_state_of_a_job(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch, states: list[str | None],
    expected: str | None, stray: bool,
) -> None:  # fmt: skip
    told = Told(slurm, monkeypatch, *states)
    found = watched(slurm, slurm.queue.ended("m"))
    assert (found and found.state) == expected
    assert told.called == (["1"] if stray else []) and slurm.queue.strays == set(told.called)


RECORDS = [
    ("1|TIMEOUT|n2|TimeLimit\n", "TIMEOUT"),
    ("1|CANCELLED by 1000|n2|None\n", "CANCELLED"),
    ("1|RUNNING|n2|None\n", UNKNOWN),  # the records lag behind
    ("", UNKNOWN),
]


@pytest.mark.parametrize(("records", "expected"), RECORDS)
def test_job_gone_from_the_queue_gets_its_state_from_records(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch, records: str, expected: str
) -> None:
    told = Told(slurm, monkeypatch, "RUNNING", "")
    told.records = records
    assert watched(slurm, slurm.queue.ended("m")).state == expected


def test_unreachable_queue_leaves_the_state_unknown(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last reported state is not the final state of the job."""
    Told(slurm, monkeypatch, "RUNNING", None)
    monkeypatch.setattr(job_queue, "ENDING", 0.3)
    assert watched(slurm, slurm.queue.ended("m")).state == UNKNOWN


def test_one_query_covers_200_jobs_that_end_at_once(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{n}|COMPLETING|n1|None|{slurm.mark}:m{n}\n" for n in range(1, 201)]
    asked = 0

    def answer(queue: Queue, words: list[str], job: str = "") -> str:
        nonlocal asked
        asked += 1
        return "".join(rows).replace("COMPLETING", "TIMEOUT" if asked > 3 else "COMPLETING")

    monkeypatch.setattr(Queue, "answer", answer)

    async def all_of_them() -> list[QueuedJob | None]:
        return await asyncio.gather(*(slurm.queue.ended(f"m{n}") for n in range(1, 201)))

    found = watched(slurm, all_of_them())
    assert {job.state for job in found} == {"TIMEOUT"} and asked < 8


@contextlib.contextmanager
def noted(host: str, pid: int, ticks: int, age: float) -> Iterator[None]:
    path = Path(f"run/board/run/{host}.{pid}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pid": pid, "ticks": ticks, "host": host, "began": 1.0}))
    os.utime(path, (time.time() - age, time.time() - age))
    try:
        yield
    finally:
        path.unlink()


def test_only_jobs_of_dead_runs_of_this_checkout_are_left(
    slurm: JobLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    me, pid = jobs.checkout(), os.getpid()
    alive, dead = f"{pid}.{activity.ticks(pid)}", f"{pid}.1"
    rows = [
        (me, process_info.host(), dead, True), (me, process_info.host(), alive, False),
        (me, "elsewhere", dead, False), ("0" * 10, process_info.host(), dead, False),
        (me, f"{process_info.host()}+f0001234", dead, False),  # in a container of this host
        (me, process_info.host(), "no pid", False), (me, "login2", "7.99", True),
        (me, "login2", "7.98", False), ("0" * 10, "login2", "7.99", False),
        (me, "login3", "7.99", False),
    ]  # fmt: skip
    with noted("login2", 7, 99, activity.SILENT + 5), noted("login3", 7, 99, activity.SILENT - 60):
        for checkout, host, process, expected in rows:
            job = QueuedJob("1", "RUNNING", "n1", "", f"benchy:{checkout}:{host}:{process}", "m")
            assert jobs.orphaned(job) is expected, (checkout, host, process)


def test_different_clock_does_not_make_a_run_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ages use the clock of the file system. Here the host's clock is an hour ahead of it."""
    monkeypatch.chdir(tmp_path)
    with noted("login2", 7, 99, 10):
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3600)
        assert activity.silent() == set()


def test_finish_cancels_only_living_jobs_of_this_run(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(slurm, monkeypatch, "RUNNING")
    slurm.queue.finish()
    assert told.called == ["1"]
    for state in ("COMPLETING", "COMPLETED", "CANCELLED"):
        told.states = [state]
        slurm.queue.finish()
    slurm.mark, told.states = "benchy:another:run:1.1", ["RUNNING"]
    text = told.answer([], "").replace(slurm.mark, "benchy:0:h:1.2")
    monkeypatch.setattr(Queue, "answer", lambda *_: text)
    slurm.queue.finish()
    assert told.called == ["1"]


def test_refused_job_waits_until_another_job_ends(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site may limit the jobs in its queue, so each job that ends lets one more be submitted."""
    Told(slurm, monkeypatch, "RUNNING")
    order: list[str] = []

    async def refused(name: str) -> None:
        await slurm.queue.room(0.01)
        order.append(name)

    async def story() -> None:
        await slurm.queue.poll()
        waiting = [asyncio.ensure_future(refused(name)) for name in "ab"]
        await asyncio.sleep(0.1)
        assert order == []
        slurm.queue.forget("m")
        await asyncio.gather(*waiting)  # no job of this run is left

    watched(slurm, story())
    assert order == ["a", "b"]


def test_watcher_survives_errors_and_reports_each_once(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    polls = 0

    async def poll(_: Queue) -> None:
        nonlocal polls
        polls += 1
        raise ValueError("odd") if polls < 4 else asyncio.CancelledError

    monkeypatch.setattr(Queue, "poll", poll)
    monkeypatch.setattr(job_queue, "POLL", 0.0)
    monkeypatch.setattr(job_queue, "say", lambda tag, text: said.append(f"{tag} {text}"))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(slurm.queue.watch())
    assert said == ["WARNING the launcher's queue can't be read: ValueError: odd"]

"""What a run does if a job ends without its results, or a build without its files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import specs
from benchy.cluster import job_queue, launcher, multi_node, shared_files
from benchy.cluster.job_queue import Queue
from benchy.cluster.jobs import UNKNOWN, QueuedJob
from benchy.cluster.launcher import JobLauncher
from benchy.core.errors import Died
from benchy.core.specs import ResourceRequest
from benchy.run import cluster_builds, cluster_jobs, job_ends
from benchy.run.accounting import RunStats

ROOT = Path(__file__).parents[3]
TARGET = "results/m/alpha/results.json"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobLauncher:
    monkeypatch.chdir(ROOT)
    made = launcher.load("slurm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job_queue, "POLL", 0.01)
    monkeypatch.setattr(job_ends, "PAUSE", 0.01)
    monkeypatch.setattr(shared_files, "PAUSE", 0.01)
    monkeypatch.setattr(shared_files, "PATIENCE", 1.0)
    return made


class Run:
    """A dispatcher of one model, m.

    tries: (exit status of the command, state of its job, whether it makes the result) of each try.
    The state "" means that there is no job.
    """

    def __init__(
        self, slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch, *tries: tuple[int, str, bool]
    ) -> None:
        self.slurm, self.tries, self.word = slurm, list(tries), ""
        self.spec = specs.server()
        self.failed: set[str] = set()
        self.job_ends: dict[str, str] = {}
        self.stats = RunStats()
        self.submitted: list[Sequence[str]] = []
        # Itself stands for its plan, its commands and its builds.
        self.plan: Any = self
        self.commands: Any = self
        self.builds: Any = self
        self.models = {"m": specs.model(environment="e", harnesses=[])}
        self.rows = ""
        monkeypatch.setattr(Queue, "answer", lambda queue, words, job="": self.answer(words))

    @property
    def settings(self) -> Any:
        make = SimpleNamespace(
            serving=lambda name, stale: ["serve", *stale], command=lambda target: ["make", target]
        )
        return SimpleNamespace(
            make=make, specs={"m": self.spec}, launcher=self.slurm,
            build_resources={"partition": "cpu"},
        )  # fmt: skip

    def answer(self, words: list[str]) -> str:
        return self.rows if words == self.slurm.config.queue else ""

    async def stale(self, name: str) -> list[str]:
        return [] if Path(TARGET).exists() else [TARGET]

    async def run(self, argv: Sequence[str], given: Mapping[str, str] | None = None) -> int:
        status, state, makes = self.tries[len(self.submitted)]
        self.submitted.append(argv)
        comment = next(w for w in argv if w.startswith("--comment=")).partition("=")[2]
        if state:
            self.rows += f"{len(self.submitted)}|{state}|n1|None|{comment}\n"
        if makes:
            asyncio.get_running_loop().call_later(0.1, self.make)
        if self.word and given:
            end = Path(given[multi_node.MEETING]).with_suffix(".end")
            end.parent.mkdir(parents=True, exist_ok=True)
            end.write_text(self.word)
        return status

    def make(self) -> None:
        Path(TARGET).parent.mkdir(parents=True)
        Path(TARGET).touch()

    def serve(self) -> tuple[int, str]:
        """Return the number of tries, and the reason of the last failure."""

        async def both() -> None:
            watch = asyncio.ensure_future(self.slurm.queue.watch())
            try:
                await asyncio.wait_for(cluster_jobs.serve(self, "m", self.slurm), 20)
            finally:
                watch.cancel()

        asyncio.run(both())
        assert bool(self.failed) == bool(self.stats.reasons)
        return len(self.submitted), self.stats.reasons.get("m", ("", ""))[0]


ENDS = [
    ("it ended well, and NFS tells it late", [(0, "COMPLETED", True)], 1, ""),
    ("a task failed", [(2, "FAILED", False)], 1, "its job 1: FAILED on n1"),
    ("its server died", [(Died.STATUS, "FAILED", False), (0, "COMPLETED", True)], 2, ""),
    ("pre-empted", [(143, "PREEMPTED", False), (0, "COMPLETED", True)], 2, ""),
    ("pre-empted, it ended within its grace", [(143, "FAILED", False), (0, "COMPLETED", True)],
     2, ""),
    ("its srun was killed, which called it off", [(-9, "CANCELLED", False), (0, "COMPLETED", True)],
     2, ""),
    ("called off by somebody", [(143, "CANCELLED", False)], 1, "its job 1: CANCELLED on n1"),
    ("its memory was too little", [(137, "OUT_OF_MEMORY", False)], 1,
     "its job 1: OUT_OF_MEMORY on n1"),
    ("refused once", [(1, "", False), (0, "COMPLETED", True)], 2, ""),
    ("refused for good", [(1, "", False)] * 4, 4,
     "m failed 4 times, last: no job was created"),
    ("a time limit each time", [(143, "TIMEOUT", False)] * 4, 4,
     "m failed 4 times, last: job 4: TIMEOUT on n1"),
    ("it ended well and made nothing", [(0, "COMPLETED", False)], 1, "its job 1: COMPLETED on n1"),
]  # fmt: skip


@pytest.mark.parametrize(("about", "tries", "many", "why"), ENDS)
def test_end_of_a_job_decides_whether_it_is_repeated(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch, about: str,
    tries: list[tuple[int, str, bool]], many: int, why: str,
) -> None:  # fmt: skip
    assert Run(slurm, monkeypatch, *tries).serve() == (many, why), about


WORDS = [
    ("2\n", 143, 1),  # a task failed; the other node was only terminated with it
    ("75\n", 143, 2),  # the server died
    ("143\n", 143, 2),  # all nodes got TERM, but not from this run
    ("", 143, 2),  # no node had time to record its status
]


@pytest.mark.parametrize(("word", "status", "many"), WORDS)
def test_multi_node_job_ends_with_the_status_that_a_node_recorded(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch, word: str, status: int, many: int
) -> None:
    run = Run(slurm, monkeypatch, (status, "FAILED", False), (0, "COMPLETED", True))
    nodes = {"count": 2, "words": [], "follower": []}
    run.spec, run.word = specs.server(gpus=8, nodes=nodes), word
    if many == 2:
        monkeypatch.setattr(multi_node, "recorded_status", _once(multi_node.recorded_status))
    assert run.serve()[0] == many
    assert not list(Path("run").rglob("*.end"))


def _once(recorded: Any) -> Any:
    """Wrap `recorded` so that only the first job has a recorded status."""
    seen: list[int] = []

    def first(given: Mapping[str, str]) -> int | None:
        seen.append(1)
        found: int | None = recorded(given)
        return found if len(seen) == 1 else None

    return first


def built(run: Run, target: str) -> int:
    async def both() -> int:
        watch = asyncio.ensure_future(run.slurm.queue.watch())
        try:
            return await asyncio.wait_for(cluster_builds.built(run.builds, target, "e"), 20)
        finally:
            watch.cancel()

    return asyncio.run(both())


BUILDS = [
    ([(143, "TIMEOUT", False), (0, "COMPLETED", True)], 2, 0, {}),
    ([(2, "FAILED", False)], 1, 2, {}),
    ([(1, "OUT_OF_MEMORY", False)], 1, 1, {"e": "job 1: OUT_OF_MEMORY on n1"}),
    ([(0, "COMPLETED", True)], 1, 0, {}),  # its file appears late
]


@pytest.mark.parametrize(("tries", "many", "status", "lost"), BUILDS)
def test_end_of_a_build_decides_whether_it_is_repeated(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch, tries: list[tuple[int, str, bool]],
    many: int, status: int, lost: dict[str, str],
) -> None:  # fmt: skip
    run = Run(slurm, monkeypatch, *tries)

    def make() -> None:
        Path("venvs").mkdir()
        Path("venvs/e.lock").touch()

    monkeypatch.setattr(run, "make", make)
    assert built(run, "venvs/e.lock") == status and len(run.submitted) == many
    assert "--partition=cpu" in run.submitted[0]
    if status:
        assert lost.items() <= run.job_ends.items()


ASKED: list[tuple[ResourceRequest, ResourceRequest]] = [
    ({}, {"partition": "gpu", "account": "lab", "constraint": "a100", "time": "9"}),
    ({"constraint": "big"},
     {"partition": "gpu", "account": "lab", "constraint": "big", "time": "9"}),
    ({"partition": "cpu", "memory": "8G"},
     {"partition": "cpu", "account": "lab", "memory": "8G"}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), ASKED)
def test_builds_request_the_resources_that_all_models_share(
    asked: ResourceRequest, expected: ResourceRequest
) -> None:
    models = {"partition": "gpu", "account": "lab", "constraint": "a100", "time": "9"}
    more = {"memory": "900G", "gpu_type": "a100", "cpus_per_gpu": 9, "scratch": "/x"}
    servers = {
        "m": specs.server(resources={**models, **more}),
        "n": specs.server(resources={**models, "qos": "q"}),
    }
    assert cluster_builds.build_resources(servers, asked) == expected
    assert cluster_builds.build_resources({}, asked) == asked


def job(state: str) -> QueuedJob:
    return QueuedJob("1", state, "n1", "", "benchy:x:h:1.1", "m")


# (about, state of the job, status, own, stray) → (repeat, explains)
JUDGED = [
    ("never queued", None, 1, True, False, (True, True)),
    ("a task failed", "FAILED", 2, True, False, (False, False)),
    ("it made nothing", "COMPLETED", 0, True, False, (False, False)),
    ("its server died", "FAILED", Died.STATUS, True, False, (True, False)),
    ("the program got TERM", "FAILED", 143, True, False, (True, False)),
    ("a node was ended along with another", "FAILED", 137, False, False, (True, False)),
    ("the program was killed", "FAILED", 137, True, False, (False, False)),
    ("preempted", "PREEMPTED", 1, True, False, (True, True)),
    ("canceled by a person", "CANCELLED", 143, True, False, (False, True)),
    ("canceled by this run", "CANCELLED", 1, True, True, (True, True)),
    ("its command was killed", "CANCELLED", -9, True, False, (True, True)),
    ("out of memory", "OUT_OF_MEMORY", 137, True, False, (False, True)),
    ("unknown to the queue", UNKNOWN, 1, True, False, (True, True)),
]


@pytest.mark.parametrize(("about", "state", "status", "own", "stray", "expected"), JUDGED)
def test_state_and_status_decide_whether_a_job_is_repeated(
    slurm: JobLauncher, about: str, state: str | None, status: int, own: bool, stray: bool,
    expected: tuple[bool, bool],
) -> None:  # fmt: skip
    ended = job(state) if state else None
    end = job_ends.judge(ended, status, slurm.config, own=own, stray=stray)
    assert (end.repeat, end.explains) == expected, about

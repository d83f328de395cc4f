"""Comparison of the server's and the harness's tokenizers, and why a run of the harness failed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import specs
from benchy.cli import eval as eval_command
from benchy.core import paths
from benchy.core.errors import Failure
from benchy.evaluation import evaluate, harness, job
from benchy.serving.preparation import FetchedFiles


def test_a_task_says_nothing_of_a_dead_server(capfd: pytest.CaptureFixture[str]) -> None:
    """bin/serve reports the death, once for all tasks."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead: Any = SimpleNamespace(server={"pid": ended.pid}, model="m", task="t")
    with pytest.raises(SystemExit) as error:
        job.check_alive(dead)
    assert error.value.code == 1 and capfd.readouterr() == ("", "")
    alive: Any = SimpleNamespace(server={"pid": os.getpid()}, model="m", task="t")
    job.check_alive(alive)
    assert capfd.readouterr() == ("", "")


# (how long the server lives, whether /health fails) → whether the task ends without a message
DYING = [("0.3", True, True), ("60", True, False), ("60", False, False), ("0", False, True)]


@pytest.mark.parametrize(("seconds", "sick", "silent"), DYING)
def test_a_failed_task_waits_for_a_dying_server(
    monkeypatch: pytest.MonkeyPatch, seconds: str, sick: bool, silent: bool
) -> None:
    monkeypatch.setattr(job, "DYING", 1.0)
    monkeypatch.setattr(job, "_sick", lambda job: sick)
    with subprocess.Popen(["sleep", seconds]) as server:
        made: Any = SimpleNamespace(server={"pid": server.pid}, model="m", task="t")
        if seconds == "0":
            server.wait()
        try:
            job.check_not_dying(made)
            assert not silent
        except SystemExit:
            assert silent
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("requested", "reported", "same"),
    [
        ("0.10.2+cu118", "0.10.2", True),
        ("0.10.2", "0.10.2+cpu", True),
        ("0.10.2+cu118", "0.10.1", False),
        (None, "0.10.1", True),
    ],
)
def test_a_task_accepts_the_release_that_its_server_accepts(
    requested: str | None, reported: str, same: bool
) -> None:
    """server.py compares the same versions before the tasks start."""
    meaning = specs.meaning(version=requested)
    served = {"model": "m", "spec": {"meaning": meaning}, "version": reported}
    made: Any = SimpleNamespace(
        spec=specs.result(version=requested),
        server=served,
        model="m",
        task="t",
        title="m/t",
        url="",
    )
    if same:
        job.check_server(made)
        return
    with pytest.raises(Failure, match="not the one that this result needs") as error:
        job.check_server(made)
    assert any("release" in line for line in error.value.lines)


def test_each_result_has_its_own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    long = "x" * 200
    results = [("a-b", "c", None), ("a", "b-c", None), ("a", "b-c", 1), (long, long, None)]
    for model, task, limit in results:
        made: Any = SimpleNamespace(model=model, task=task, limit=limit)
        with eval_command._only_one(made) as waited:
            assert waited is None
    assert len(list(paths.RUN.rglob("*.lock"))) == len(results)


@pytest.mark.parametrize("chat", [False, True])
def test_other_weights_do_not_continue_an_interrupted_task(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chat: bool
) -> None:
    """A chat task's requests name no tokenizer, and so no commit."""
    monkeypatch.chdir(tmp_path)
    task = specs.task_meaning(harness_environment="none")

    def cache(commit: str | None, **more: str) -> Path | None:
        made: Any = SimpleNamespace(
            spec=specs.result(chat=chat, task=task), run=specs.task(), spec_bytes=b"{}",
            server=specs.record(spec=specs.server(), commit=commit, environment="none", **more),
            cache=tmp_path / "cache",
        )  # fmt: skip
        files = FetchedFiles(commit, more.get("folder"))
        made.endpoint = harness.HarnessEndpoint("http://h", "m", 1024, files=files)
        return evaluate._cache(made)

    first = cache("a" * 40)
    assert first and first.is_dir() and cache("a" * 40) == first
    others = [cache("b" * 40), cache(None), cache(None, folder="/c/m-1"), cache(None, folder="/c")]
    assert len({first, *others}) == 5
    assert not first.exists(), "answers of other weights are deleted"

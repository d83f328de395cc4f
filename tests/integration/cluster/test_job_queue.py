"""Tests of a launcher's jobs: which are ours, how they ended, which are canceled."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchy.cluster import job_queue, jobs, launcher
from benchy.cluster.jobs import QueuedJob
from benchy.cluster.launcher import JobLauncher

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(job_queue, "POLL", 0.01)


@pytest.fixture
def slurm() -> JobLauncher:
    return launcher.load("slurm")


@pytest.mark.parametrize("words", [["sleep", "9"], ["false"], ["there-is-no-such-program"]])
def test_failed_cancel_is_reported(
    slurm: JobLauncher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(job_queue, "PATIENCE", 0.1)
    slurm.config.cancel[:] = words
    slurm.queue.call_off(QueuedJob("1", "RUNNING", "n1", "", "r", "m"), "left")
    assert f"job 1 of m can't be canceled: {words[0]}" in capsys.readouterr().err


def test_queue_that_is_not_utf8_is_read(slurm: JobLauncher) -> None:
    command = ["printf", r"7|RUNNING|n1|\377|%s:m\n", slurm.mark]
    (job,) = jobs.parse(slurm.queue.answer(command))
    assert (job.state, job.reason, job.model) == ("RUNNING", "\ufffd", "m")

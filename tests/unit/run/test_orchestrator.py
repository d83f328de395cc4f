"""The jobs that bin/run takes from make, the GPUs it can use, and the tasks of one server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import specs
from benchy.core import knobs, paths
from benchy.core.errors import Failure
from benchy.devices import gpu
from benchy.run import graph_queries, pipeline
from benchy.run.accounting import RunStats

FLAGS = [
    ("", 1),
    ("n", 1),
    (" -j4 --jobserver-auth=3,4", 4),
    ("k -j --jobserver-auth=3,4", None),
    ("ks -j16 --jobserver-auth=fifo:/tmp/x -- MODELS=a\\ -j9", 16),
    (" -- SET=-j3", 1),
]


@pytest.mark.parametrize(("flags", "jobs"), FLAGS)
def test_job_slots_are_read_from_makeflags(flags: str, jobs: int | None) -> None:
    assert knobs.job_slots(flags) == jobs


def test_model_with_too_few_free_gpus_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCHY_LEASES", str(tmp_path))
    monkeypatch.setenv("GPU_BUSY", "skip")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    two = [gpu.Gpu(n, f"GPU-aaaa111{n}", "RTX 4090", 24564, 12, "550") for n in (0, 1)]
    monkeypatch.setattr(gpu, "gpus", lambda: two)
    monkeypatch.setattr(gpu, "strangers", lambda cards: {"GPU-aaaa1111": "train.py (pid 7)"})
    servers = {
        "wide": specs.server(model="wide", device="gpu", gpus=2),
        "one": specs.server(model="one", device="gpu", gpus=1),
        "small": specs.server(model="small"),
    }
    stats = RunStats()
    assert list(pipeline.available_needs(servers, stats)) == ["one", "small"]
    why = "wide needs 2 GPUs; with GPU_BUSY=skip, other programs leave 1: train.py (pid 7)"
    assert stats.reasons == {"wide": (why, "")} and why in capsys.readouterr().err


def test_a_broken_driver_does_not_concern_models_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[gpu.Gpu]:
        raise Failure("nvidia-smi did not answer within 30 s")

    monkeypatch.setenv("BENCHY_LEASES", str(tmp_path))
    monkeypatch.setattr(gpu, "gpus", broken)
    servers = {"small": specs.server(model="small")}
    assert list(pipeline.available_needs(servers, RunStats())) == ["small"]
    servers["wide"] = specs.server(model="wide", device="gpu", gpus=2)
    with pytest.raises(Failure, match="nvidia-smi"):
        pipeline.available_needs(servers, RunStats())


TASKS = [
    ({}, {}, {"a": 8, "b": 8}, 4),
    ({"max_num_seqs": 16}, {}, {"a": 8, "b": 2}, 2),
    ({"max_num_seqs": 2}, {}, {"a": 8}, 1),
    ({}, {"--max-num-seqs": {"default": 24}}, {"a": 8, "b": 8}, 3),
    ({}, {"--max-num-seqs": {"default": None}}, {"a": 8, "b": 8}, 4),
    ({"max_num_seqs": 256}, {"--max-num-seqs": {"default": 24}}, {"a": 8}, 4),
]


@pytest.mark.parametrize(("options", "flags", "tasks", "expected"), TASKS)
def test_parallel_tasks_fit_the_engine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    flags: dict[str, Any],
    tasks: dict[str, int],
    expected: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASK_JOBS", raising=False)
    server = specs.server(model="m", environment="e", options=options)
    files: dict[Path, object] = {
        paths.server_spec("m"): server,
        paths.env_dir("e") / "flags.json": flags,
    }
    for name, many in tasks.items():
        files[paths.task_spec(name)] = specs.task(name=name, num_concurrent=many)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    targets = [str(paths.result("m", name)) for name in tasks]
    assert graph_queries.task_jobs("m", targets) == expected
    monkeypatch.setenv("TASK_JOBS", "1")
    assert graph_queries.task_jobs("m", targets) == 1

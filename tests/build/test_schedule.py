"""How the models of a run share devices: what -j limits, which models wait, what waiting costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from trees import Tree, ended, wait_for

pytestmark = pytest.mark.slow


def models(tree: Tree, count: int) -> list[str]:
    """Replace the models of the tree with `count` new ones, whose environment is built already."""
    folder = tree.root / "configs/models"
    shutil.rmtree(folder)
    shutil.rmtree(tree.root / "results")
    folder.mkdir()
    names = [f"m{number:03}" for number in range(count)]
    for name in names:
        (folder / f"{name}.yaml").write_text(
            f'model: {{name: "acme/{name}"}}\nvllm: {{provider_config: standin}}\ntasks: [alpha]\n'
        )
    return names


def test_jobs_limit_servers_and_not_waiting_models(tree: Tree) -> None:
    models(tree, 4)
    done = tree.make("-j2", "results", CPU_SLOTS="4", STANDIN_HARNESS_SECONDS="2")
    assert done.status == 0, done.text
    events = tree.events()
    starts = [e["pid"] for e in events if e["event"] == "start"]
    assert len(starts) == 4 and len([e for e in events if e["event"] == "eval"]) == 4
    third = [n for n, e in enumerate(events) if e["event"] == "start"][2]
    assert "eval" in [e["event"] for e in events[:third]], "a third server beside two"
    assert "QUEUE   4 models: m000, m001, m002, m003" in done.text


SMI = """#!/bin/sh
case $1 in
  --query-gpu=*) for n in 0 1; do echo "$n, GPU-aaaa111$n, 24564, 12, 550.54.15, RTX 4090"; done ;;
  --query-compute-apps=*) echo "GPU-aaaa1111, 4242, 9300, /home/x/train.py" ;;
esac
"""


def test_model_without_enough_gpus_fails_and_others_run(tree: Tree) -> None:
    """With GPU_BUSY=skip and one of two GPUs in use, only the model that needs both fails."""
    smi = tree.base / "smi/nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SMI)
    smi.chmod(0o755)
    shutil.rmtree(tree.root / "results")
    path = f"{smi.parent}:{tree.environ()['PATH']}"
    done = tree.make("-k", "results", "MODELS=one six", GPU_BUSY="skip", PATH=path)
    assert done.status, done.text
    assert tree.written() == ["one/alpha", "one/beta"], done.text
    left = "with GPU_BUSY=skip, other programs leave 1: train.py (pid 4242, 9300 MiB)"
    told = f"six needs 2 GPUs; {left}"
    assert done.text.count(told) == 2, done.text  # when it fails, and in the summary


def test_longest_model_starts_first(tree: Tree) -> None:
    """The estimate comes from earlier results, although a new seed makes them stale."""
    for title, seconds in (("one/alpha", 5), ("two/alpha", 500), ("three/alpha", 50)):
        result = tree.result(title)
        result["times"]["seconds"] = seconds
        tree.file(title).write_text(json.dumps(result))
    tree.edit("tasks/alpha.yaml", "offline:", "seed: 9\noffline:")
    done = tree.results("TASKS=alpha")
    assert done.status == 0, done.text
    served = [e["model"] for e in tree.events() if e["event"] == "start"]
    assert served == ["acme/two", "acme/three", "acme/one"], done.text


def test_hundred_waiting_models_use_little_cpu_and_memory(tree: Tree) -> None:
    models(tree, 101)
    with tree.held():
        make = tree.start("-j", "results")
        wait_for(lambda: any(e["event"] == "eval" for e in tree.events()), 60, "the first task")

        def queued() -> bool:
            tickets = list((tree.base / "leases").glob("*/ticket-*"))
            return len(tickets) == 100

        wait_for(queued, 120, "100 in line")
        time.sleep(1)
        found = [psutil.Process(pid) for pid in tree.processes()]
        waiting = [p for p in found if "lib/run.py run results" in " ".join(p.cmdline())]
        assert len(waiting) == 1 and len(found) < 20
        before, begun = sum(waiting[0].cpu_times()[:2]), time.monotonic()
        time.sleep(5)
        assert (sum(waiting[0].cpu_times()[:2]) - before) / (time.monotonic() - begun) < 0.01
        assert waiting[0].memory_info().rss < 200 << 20  # 2 MiB for each model
        os.kill(make.pid, signal.SIGTERM)
        ended(make)
    wait_for(lambda: not tree.processes(), 15, "all to end")
    assert not list((tree.base / "leases").glob("*/ticket-*"))


def test_killed_run_leaves_no_processes_and_can_be_repeated(tree: Tree) -> None:
    models(tree, 3)
    with tree.held():
        make = tree.start("-j", "results", CPU_SLOTS="2")
        wait_for(lambda: any(e["event"] == "eval" for e in tree.events()), 30, "a task")
        for pid, words in tree.processes().items():
            if "lib/run.py run results" in words:
                os.kill(pid, signal.SIGKILL)
        ended(make)
        wait_for(lambda: not tree.processes(), 20, "all to end")
    assert make.returncode != 0
    assert tree.make("-j", "results", CPU_SLOTS="2").status == 0
    assert len(tree.written()) == 3


def test_fetch_builds_environments_and_starts_no_server(tree: Tree) -> None:
    shutil.rmtree(tree.root / "venvs/standin_1_1_0")
    done = tree.make("-j2", "fetch", "MODELS=one four")
    assert done.status == 0, done.text
    assert "fetch: 2 models are ready" in done.text
    assert tree.events() == []
    assert Path(tree.root, "venvs/standin_1_1_0/.stamp").exists()

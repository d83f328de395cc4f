"""Kills and a suspend with the real engine and harness: nothing is left running, nothing is lost.

tests/faults covers many faults quickly with the stand-in. These tests cover those that depend on
the engine's own processes, its shutdown and the cache of answers. One task of 500 requests
continues from kill to kill; in the end its result equals that of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchy.core import temporary_files
from clone import asked, long_task, read, survivors

MODEL = "struck"
TARGET = f"results/{MODEL}/long/results.json"


def until(what: Callable[[], Any], about: str, seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, about
        time.sleep(0.05)
    return found


class Run:
    """A running `make eval` of a model."""

    def __init__(self, tree: Path, model: str = MODEL) -> None:
        self.tree, self.model = tree, model
        self.out = tree / "out.txt"
        with self.out.open("w") as file:
            self.make = subprocess.Popen(
                ["make", "eval", f"CONFIG=configs/{model}.yaml"], cwd=tree, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def text(self) -> str:
        return self.out.read_text(errors="replace")

    def running(self) -> bool:
        assert self.make.poll() is None, self.text()
        return True

    def server(self) -> dict[str, Any]:
        """Wait until the server serves; return bin/serve's note about it."""

        def noted() -> dict[str, Any] | None:
            self.running()
            for path in self.tree.glob(f"run/.{self.model}~*.tmp/server.json"):
                try:
                    told: dict[str, Any] = json.loads(path.read_text())
                except (OSError, ValueError):
                    continue
                if psutil.pid_exists(told["pid"]):
                    made = temporary_files.FORM.fullmatch(path.parent.name)
                    assert made
                    return told | {"wrapper": int(made[3])}
            return None

        found: dict[str, Any] = until(noted, "a server")
        return found

    def answered(self, more: int) -> None:
        """Wait until the last server has answered `more` requests."""
        until(lambda: self.running() and asked(self.tree, self.model) >= more, "answers")

    def victim(self, whom: str) -> int:
        server = self.server()
        wrapper = psutil.Process(server["wrapper"])
        pids: dict[str, Callable[[], int]] = {
            "make": lambda: int(self.make.pid),
            "wrapper": lambda: wrapper.pid,
            "server": lambda: int(server["pid"]),
            "core": lambda: int(core(server["pid"])),
        }
        return pids[whom]()

    def end(self) -> None:
        self.make.wait(60)
        until(lambda: not survivors(self.tree), f"the end of {survivors(self.tree)}", 60)


def core(server: int) -> int:
    """Return the pid of the engine core below a server."""
    for child in psutil.Process(server).children(recursive=True):
        if "EngineCore" in child.name() + " ".join(child.cmdline()):
            return child.pid
    raise AssertionError("there is no engine core")


def listened(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def port_of(server: dict[str, Any]) -> int:
    words = server["arguments"]
    for at, word in enumerate(words):
        if word.startswith("--port="):
            return int(word[7:])
        if word == "--port":
            return int(words[at + 1])
    raise AssertionError(words)


def held_leases() -> list[str]:
    """Return the devices that are leased on this host."""
    from benchy.devices import leases  # noqa: PLC0415

    desk = leases.LeaseDirectory(leases.directory())
    devices = [p.name for p in desk.path.glob("*") if p.name.startswith(("cpu-", "gpu-"))]
    return sorted(desk.holders(devices)) if devices else []


@pytest.fixture(scope="module")
def struck(tree: Path) -> Iterator[Path]:
    long_task(tree)
    text = (tree / "configs/quickstart.yaml").read_text()
    for name in (MODEL, "calm"):
        (tree / f"configs/{name}.yaml").write_text(text.replace('["smoke"]', '["long"]'))
    yield tree
    for name in (MODEL, "calm"):
        (tree / f"configs/{name}.yaml").unlink()
        shutil.rmtree(tree / "results" / name, ignore_errors=True)


def test_an_engine_core_that_dies_while_loading_is_reported(struck: Path) -> None:
    run = Run(struck)
    log = struck / f"logs/serve/{MODEL}.log"

    def loading() -> int:
        run.running()
        for process in survivors(struck):
            try:
                if "EngineCore" in process.name() + " ".join(process.cmdline()):
                    return process.pid
            except psutil.Error:
                continue
        return 0

    pid = until(loading, "an engine core")
    os.kill(pid, signal.SIGKILL)
    run.end()
    text = run.text()
    assert run.make.returncode == 2 and f"failed: {MODEL}: the server ended" in text, text
    assert str(log.relative_to(struck)) in text and "Traceback" not in text
    assert not held_leases()


@pytest.mark.parametrize(("at", "whom"), [(60, "make"), (60, "wrapper")])
def test_a_kill_leaves_no_process_and_keeps_answers(struck: Path, at: int, whom: str) -> None:
    run = Run(struck)
    server = run.server()
    assert held_leases()
    run.answered(at)
    if whom == "wrapper":  # first suspend the run, like a laptop that sleeps
        suspended(struck, run)
    os.kill(run.victim(whom), signal.SIGKILL)
    run.end()
    assert not listened(port_of(server)) and not held_leases()
    assert not (struck / TARGET).exists()
    assert list((struck / "build/cache/eval").glob(f"**/{MODEL}/long/*")), "answers are kept"


def suspended(tree: Path, run: Run, seconds: float = 30) -> None:
    """Stop every process of a run for `seconds`, then let them continue."""
    before = asked(tree, run.model)
    all_ = survivors(tree)
    for process in all_:
        process.suspend()
    time.sleep(seconds)
    for process in all_:
        process.resume()
    run.answered(before + 20)


def test_a_server_whose_core_dies_is_restarted_and_the_result_is_complete(struck: Path) -> None:
    run = Run(struck)
    run.server()
    run.answered(30)
    os.kill(run.victim("core"), signal.SIGKILL)
    run.make.wait(300)
    text = run.text()
    assert run.make.returncode == 0, text
    assert text.count(f"  AGAIN   {MODEL}: starting its server again for 1 tasks") == 1
    until(lambda: not survivors(struck), "the end", 60)
    assert not held_leases()
    made = read(struck, TARGET)
    assert made["counts"] == {"requests": 500, "samples": {"long": 125}}
    # Requests that were answered before the kills are not sent again.
    assert asked(struck, MODEL) <= 500 - 60 - 60 - 30, asked(struck, MODEL)

    calm = Run(struck, "calm")
    assert calm.make.wait(300) == 0, calm.text()
    undisturbed = read(struck, "results/calm/long/results.json")
    assert made["metrics"] == undisturbed["metrics"] and made["score"] == undisturbed["score"]
    assert answers(struck, MODEL) == answers(struck, "calm")


def answers(tree: Path, model: str) -> dict[int, list[list[Any]]]:
    """Return document → answer to each choice, rounded to the digits that batching preserves."""
    (file,) = (tree / f"results/{model}/long").rglob("samples_long_*.jsonl")
    found = {}
    for line in file.read_text().splitlines():
        sample = json.loads(line)
        found[sample["doc_id"]] = [
            [round(float(number), 3), greedy] for number, greedy in sample["filtered_resps"]
        ]
    return found

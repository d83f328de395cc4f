"""Rows of make bench on scheduling: real dispatcher, leases and processes; a server is a sleep.

- spread: 24 models of mixed widths on 8 simulated GPUs with known durations of 1 to 12 s, against
  the lower bound: the larger of total work / number of GPUs and the longest model.
- turns: 6 models of 5 tasks of 0.6 s, all tasks at once, on 2 leases with -j2, -j6 and -j16,
  against three times one model (5 times that with -j2 if waiting models hold job slots).
- waiting: 100 models in line for a leased GPU: CPU and memory of the waiting run.

To run it alone: .venv/bin/python tests/bench/scheduling.py [FOLDER]. FOLDER holds the leases.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2] / "lib")]
import psutil  # noqa: E402
from measure import Broken, Row, alone, beside, text  # noqa: E402

from benchy.core.specs import ModelEntry  # noqa: E402
from benchy.devices import allocation, leases, waiting_line  # noqa: E402
from benchy.environments import health  # noqa: E402
from benchy.run import schedule  # noqa: E402
from benchy.run.current_plan import CurrentPlan  # noqa: E402
from benchy.run.dispatcher import Dispatcher  # noqa: E402
from benchy.run.settings import RunSettings  # noqa: E402

SPREAD, TURNS, CORE, EACH = 1.10, 1.25, 0.01, 10.0
ROUNDS = 3


class Commands:
    """Queries to Make of models whose results are always stale. commands: what serves each."""

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        self.commands = commands

    def plan(self) -> dict[str, ModelEntry]:
        return {}

    def stale(self, model: str) -> list[str]:
        return [model]

    def command(self, target: str) -> list[str]:
        return ["true"]

    def fetching(self, model: str) -> list[str]:
        return ["true"]

    def serving(self, model: str, targets: Sequence[str]) -> list[str]:
        return list(self.commands[model])


def serve(items: Sequence[schedule.Item], jobs: int | None, commands: Mapping[str, Sequence[str]],
          names: Sequence[str]) -> float:  # fmt: skip
    """Serve the models in this order and return the seconds it took. Raises Broken."""
    facts: ModelEntry = {
        "source": "configs/one.yaml",
        "tasks": [],
        "asked": "ready",
        "environment": "ready",
        "harnesses": [],
        "fallback": None,
    }
    needs = {}
    for item in items:
        called = {device: device for device in item.pool}
        owner = {"model": item.name, "pid": os.getpid()}
        needs[item.name] = allocation.DeviceNeed(
            leases.LeaseRequest(item.count, item.pool, owner), called
        )
    make = Commands(commands)
    models = {item.name: facts for item in items}
    health.intact = lambda env: True
    settings = RunSettings(make, needs, jobs, dict(os.environ))
    run = Dispatcher(settings, CurrentPlan(make, models))
    begun = time.monotonic()
    asyncio.run(run.run(names))
    if run.failed:
        raise Broken(f"failed: {run.failed}")
    return time.monotonic() - begun


def spread() -> list[Row]:
    """Measure 24 models of mixed widths on 8 GPUs."""
    dice = random.Random(2026)  # noqa: S311
    gpus = tuple(f"gpu-{number}" for number in range(8))
    items = [
        schedule.Item(
            f"m{n:02}",
            min(12.0, max(1.0, dice.lognormvariate(1.2, 0.6))),
            dice.choice([1, 1, 1, 2, 2, 4, 4, 8]),
            gpus,
        )
        for n in range(24)
    ]
    commands = {item.name: ["sleep", f"{item.seconds:.3f}"] for item in items}
    bound = schedule.least(items)
    rounds = [[serve(items, None, commands, schedule.best(items)), bound] for _ in range(ROUNDS)]
    label = "24 models on 8 GPUs, beside the lower bound"
    return [beside(label, rounds, f"<= {SPREAD}", lambda _, __, ratio: ratio <= SPREAD)]


def turns() -> list[Row]:
    """Measure 6 models on 2 leases."""
    slots = ("cpu-0", "cpu-1")
    items = [schedule.Item(f"m{n}", 1.0, 1, slots) for n in range(6)]
    task = " ".join(["sleep 0.6 &"] * 5) + " wait"
    commands = {item.name: ["sh", "-c", task] for item in items}
    begun = time.monotonic()
    subprocess.run(commands["m0"], check=True)
    bound = 3 * (time.monotonic() - begun)
    rows = []
    for jobs in (2, 6, 16):
        names = [item.name for item in items]
        rounds = [[serve(items, jobs, commands, names), bound] for _ in range(ROUNDS)]
        label = f"6 models, 2 leases, -j{jobs}, beside three turns"
        rows.append(beside(label, rounds, f"<= {TURNS}", lambda _, __, ratio: ratio <= TURNS))
    return rows


def waiting() -> list[Row]:
    """Measure CPU and memory of 100 models in line."""
    held = waiting_line.acquire(
        allocation.desk(), leases.LeaseRequest(1, ("gpu-0",), {"model": "it"}), print, lambda: None
    )
    run = subprocess.Popen(
        [sys.executable, __file__, "--wait"], env=dict(os.environ), stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while sum(name.startswith("ticket-") for name in os.listdir(leases.directory())) < 100:  # noqa: PTH208
            if time.monotonic() > end or run.poll() is not None:
                raise Broken("100 models did not come to stand in line")
            time.sleep(0.1)
        time.sleep(2)
        process = psutil.Process(run.pid)
        if process.children():
            raise Broken("a model that waits has a process")
        shares, sizes = [], []
        for _ in range(ROUNDS):
            before, begun = sum(process.cpu_times()[:2]), time.monotonic()
            time.sleep(10)
            shares.append((sum(process.cpu_times()[:2]) - before) / (time.monotonic() - begun))
            sizes.append(process.memory_info().rss / 2**20 / 100)
    finally:
        run.terminate()
        run.wait()
        held.release()
    return [
        alone("100 models wait", [100 * share for share in shares], 100 * CORE, "% of a core"),
        alone("100 models wait, each", sizes, EACH, "MiB"),
    ]


def wait() -> None:
    """Run 100 models that all need the same GPU."""
    items = [schedule.Item(f"m{n}", 1.0, 1, ("gpu-0",)) for n in range(100)]
    serve(items, None, {}, [item.name for item in items])


def rows(folder: Path) -> list[Row]:
    """Return all rows; folder holds the leases. Raises Broken."""
    os.environ["BENCHY_LEASES"] = str(folder)
    return [*turns(), *spread(), *waiting()]


if __name__ == "__main__":
    if sys.argv[1:] == ["--wait"]:
        wait()
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(text(rows(Path(*(sys.argv[1:] or [folder])))))

"""Run a model without benchy: the engine and harness commands that a run of benchy recorded."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cluster import free_port
from slurmtree import ENVIRONMENTS, House

Event = dict[str, Any]


def seconds(tree: House, events: Sequence[Event], many: int, at_once: int, pause: float) -> float:
    """Return the seconds that `many` models take, `at_once` of them in parallel.

    The time includes contention for this machine. events: the start and the evaluations of one
    model, as recorded by the stand-ins. pause: seconds of each task.
    """
    (start,) = (e for e in events if e["event"] == "start")
    tasks = [e for e in events if e["event"] == "eval"]
    begun = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda _: model(tree, start, tasks, pause), range(many)))
    return time.monotonic() - begun


def model(tree: House, start: Event, tasks: Sequence[Event], pause: float) -> None:
    """Run one model, from the start of its engine to its end. Raises RuntimeError."""
    port = free_port()
    engine, harness = (tree.root / "venvs" / env / "bin/python" for env in ENVIRONMENTS)
    environ = tree.environ(STANDIN_HARNESS_SECONDS=str(pause), STANDIN_LOG_FILE="")
    words = list(start["argv"])
    words[words.index("--port") + 1] = str(port)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log").open("w")  # noqa: SIM115 - of all processes
        server = subprocess.Popen(
            [engine, "-m", "standin_engine", *words], env=environ, stdout=log, stderr=log
        )
        try:
            healthy(port)
            running = []
            for number, task in enumerate(tasks):
                argv = list(task["argv"])
                place = argv.index("--model_args") + 1
                args = json.loads(argv[place])
                argv[place] = json.dumps(
                    args | {"base_url": f"http://127.0.0.1:{port}/v1/completions"}
                )
                argv += [f"--output_path={folder}/{number}", "--use_cache="]
                running.append(
                    subprocess.Popen(
                        [harness, "-m", "lm_eval", *argv], env=environ, stdout=log, stderr=log
                    )
                )
            if any([process.wait(600) for process in running]):
                raise RuntimeError(Path(folder, "log").read_text()[-3000:])
        finally:
            server.terminate()
            server.wait()
            log.close()


def healthy(port: int) -> None:
    """Wait up to 60 s until the engine answers. Raises OSError."""
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)

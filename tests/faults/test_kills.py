"""Kill any process at any moment: nothing partial counts, nothing is left behind, and the next run
gets the results of an undisturbed one.

Runs BENCHY_KILLS rounds (12; `make test-faults`: 200) from BENCHY_SEED, one after another on one
tree, so that the leftovers of a kill are there in the next round. To repeat only round 3 of seed 7,
set BENCHY_SEED=7 BENCHY_KILLS=3-3.
"""

from __future__ import annotations

import collections
import json
import os
import random
import re
import shutil
import signal
import socket
import time

import pytest

from benchy.devices import leases, waiting_line
from same import meaning
from trees import MODELS, Tree, ended, held, wait_for

SEED = int(os.environ.get("BENCHY_SEED", "20261123"))
FIRST, _, LAST = os.environ.get("BENCHY_KILLS", "12").rpartition("-")
ROUNDS = range(int(FIRST or 1), int(LAST) + 1)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
# Processes that may be killed: kind → pattern of the command line.
VICTIMS = {
    "make": r"^make -j4 results\b",
    "sub-make": r"^make .*-f mk/graph\.mk",
    "run": r"lib/run\.py run",
    "wrapper": r"lib/run\.py serve",
    "guardian": r"guardian\.py",
    "server": r"-m standin_engine",
    "child of the server": r"standin_engine[./]children|standin-(core|worker)",
    "eval": r"lib/run\.py eval",
    "harness": r"-m lm_eval",
    "build": r"lib/run\.py venv",
    "uv": r"\buv (--offline )?(pip|venv)",
}
OVER = "the run was over before"
ENV = {"CPU_SLOTS": "3", "STANDIN_HARNESS_SECONDS": "0.1"}


def victims(tree: Tree) -> dict[str, list[int]]:
    """Return kind → pids of the running processes of the tree."""
    found: dict[str, list[int]] = {}
    for pid, words in tree.processes().items():
        for kind, pattern in VICTIMS.items():
            if re.search(pattern, words):
                found.setdefault(kind, []).append(pid)
                break
    return found


def check_environments(tree: Tree, repeated: bool) -> None:
    """Check that every environment is complete.

    A kill between the rename of an environment and its stamp leaves it without a stamp. repeated:
    a successful run has followed, after which every environment must have one.
    """
    for folder in (tree.root / "venvs").glob("[!.]*/"):
        assert (folder / "bin/python").exists() and (folder / "lock").exists(), folder
        assert json.loads((folder / "check.json").read_text())["ok"], folder
        if repeated or (folder / ".stamp").exists():
            assert json.loads((folder / ".stamp").read_text())["lock"], folder
    if repeated:
        assert not list((tree.root / "venvs/.building").iterdir())


def check_whole(tree: Tree, said: str, repeated: bool = True) -> None:
    """Check that a run left no process, port or lease, only complete files. said: its output."""
    wait_for(lambda: not tree.processes(), 30, f"the end of {tree.processes()}")
    for port in map(int, re.findall(r"\bport (\d+)", said)):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)), f"port {port} still answers"
    assert not held(tree)
    for title in tree.written():
        assert tree.result(title)["spec_sha256"]
    check_environments(tree, repeated)


def disturb(tree: Tree, dice: random.Random, kind: str, delay: float) -> tuple[str, str]:
    """Run make, and after `delay` seconds kill a process of `kind` with a random signal.

    Returns a description of the kill and the output of the run.
    """
    make = tree.start("-j4", "results", MODELS, **ENV)
    time.sleep(delay)
    end = time.monotonic() + 20
    told = OVER
    while make.poll() is None and time.monotonic() < end:
        found = victims(tree).get(kind)
        if found:
            pid, number = dice.choice(found), dice.choice(SIGNALS)
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            told = f"{number.name} to {kind} {pid}"
            break
        time.sleep(0.01)
    done = ended(make)
    # Python itself prints a traceback if Ctrl-C arrives before the first line of a program.
    unborn = (
        r"Traceback.*\n  File .*/(lib/run|guard)\.py\", line [01], in <module>\n.*\n?"
        r"KeyboardInterrupt"
    )
    assert "Traceback" not in re.sub(unborn, "", done.text), f"{told}\n{done.text}"
    return told, done.text


def test_the_checks_detect_leftovers(tree: Tree) -> None:
    """The checks below detect held leases, tickets, missing stamps and missing locks."""
    check_whole(tree, "")
    desk = leases.LeaseDirectory(leases.directory({"BENCHY_LEASES": str(tree.base / "leases")}))
    assert desk.file("cpu-0").exists()
    taken = waiting_line.acquire(desk, leases.LeaseRequest(1, ("cpu-0",)), print, lambda: None)
    assert held(tree) == ["cpu-0"]
    ticket, descriptor = desk.issue(leases.LeaseRequest(1, ("cpu-0",)))
    assert sorted(held(tree)) == ["cpu-0", ticket]
    taken.release()
    os.close(descriptor)
    assert held(tree) == []
    folder = tree.root / "venvs/standin_1_0_0"
    (folder / ".stamp").unlink()
    check_environments(tree, repeated=False)
    with pytest.raises(FileNotFoundError):
        check_environments(tree, repeated=True)
    (folder / "lock").unlink()
    with pytest.raises(AssertionError):
        check_environments(tree, repeated=False)


def test_a_run_recovers_from_kills_at_random_moments(tree: Tree) -> None:
    assert tree.results(**ENV).status == 0
    undisturbed = meaning(tree)
    shutil.rmtree(tree.root / "results")
    begun = time.monotonic()
    assert tree.results("-j4", **ENV).status == 0
    length = time.monotonic() - begun
    assert meaning(tree) == undisturbed
    log = []
    for number in ROUNDS:
        dice = random.Random(f"{SEED}-{number}")  # noqa: S311
        shutil.rmtree(tree.root / "results")
        kind = dice.choice(list(VICTIMS))
        if kind in ("build", "uv") or dice.random() < 0.2:  # environments must be built first
            for env in dice.sample(("standin_1_0_0", "standin_2_0_0", "lm_eval_0_0_2"), 2):
                shutil.rmtree(tree.root / "venvs" / env, ignore_errors=True)
        begun = time.monotonic()
        told, said = disturb(tree, dice, kind, dice.uniform(0, length))
        if told == OVER:  # the machine is less busy than before: choose earlier moments from now on
            length = min(length, time.monotonic() - begun)
        log.append(f"{number}: {told}")
        print(log[-1], flush=True)
        try:
            check_whole(tree, said, repeated=False)
            done = tree.results("-j4", **ENV)
            assert done.status == 0, done.text
            assert meaning(tree) == undisturbed
            check_whole(tree, done.text)
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, after {log[-1]}: {error}") from error
    hits = collections.Counter(re.findall(r"\d+: SIG\w+ to ([a-z -]+?) \d", "\n".join(log)))
    print(f"seed {SEED}: {sum(hits.values())} of {len(log)} rounds killed:", dict(hits), flush=True)
    if len(ROUNDS) >= len(VICTIMS):
        assert sum(hits.values()) >= len(log) / 3, log
    if len(ROUNDS) >= 100:
        assert set(hits) == set(VICTIMS), hits

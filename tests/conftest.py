"""Put benchy's package and its own uv on the paths of all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lib"))

# The machine may have no uv on its PATH: use the one that bin/bootstrap installed.
if (ROOT / ".uv" / "bin" / "uv").exists():
    os.environ["PATH"] = f"{ROOT / '.uv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
# Under nohup or in the background of a script, a process starts with these signals ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# A make that a test starts is not a sub-make and does not inherit the caller's knobs.
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CONFIG", "LIMIT", "MODELS", "TASKS", "TEST",
             "SET", "FALLBACK", "FORMAT", "VERSION", "ENGINE", "CUTOFF", "SHARE",
             "TARGET", "V",
             "COLUMNS", "LINES"):  # fmt: skip  # set by pytest-xdist, wrong for a test's terminal
    os.environ.pop(name, None)


# Path → group. One process of pytest-xdist runs all tests of a group, in order. Any other test is a
# group of its own. Real vLLM takes a whole processor, and the cluster's nodes exist once on this
# machine.
GROUPS = {
    "tests/e2e/test_harness_facts.py": "harness",
    "tests/e2e/test_preview.py": "preview",
    "tests/e2e": "vllm",
    "tests/slurm": "slurm",
    "tests/page": "page",
    "tests/build/test_walk.py": "walk",
    "tests/build/test_walk_run.py": "walk run",
}
LONGEST_FIRST = ("vllm", "slurm", "harness", "preview", "page", "walk", "walk run")
# These tests run in `make test-all` only, except the first run of the quickstart.
SLOW = ("tests/e2e", "tests/slurm", "tests/page", "tests/faults")
FIRST = "tests/e2e/test_first_run.py"


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Run all tests of a group in one process.

    The mark xdist_group has no effect under pytest 9.2: pytest-xdist 3.8 writes it to Item._nodeid,
    which pytest no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid


def group_of(nodeid: str) -> str | None:
    return next((group for path, group in GROUPS.items() if nodeid.startswith(path)), None)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Give the longest group the processor first: all other tests together end before it."""
    if "PYTEST_XDIST_WORKER" in os.environ and group_of(nodeid) != LONGEST_FIRST[0]:
        os.nice(max(0, 5 - os.nice(0)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    return ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow folders, and start the longest groups first."""
    for item in items:
        if item.nodeid.startswith(SLOW) and not item.nodeid.startswith(FIRST):
            item.add_marker("slow")
    ranks = {group: rank for rank, group in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(group_of(item.nodeid) or "", len(ranks)))


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Restore signal handlers and the unraisable hook, which commands in this process replace."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)

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


# For `make test-real`: folder → group. One process runs all tests of a group. Slurm tests mostly
# wait, so the browser and harness tests run in parallel with them.
GROUPS = {"slurm": "slurm", "page": "beside", "e2e": "beside"}


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Run all tests of a group in one process.

    The mark xdist_group has no effect under pytest 9.2: pytest-xdist 3.8 writes it to Item._nodeid,
    which pytest no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.split("/")[1]
        return GROUPS.get(folder, nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    return ByGroup(config, log) if config.getvalue("dist") == "loadgroup" else None


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print full reports of tests that passed only on a rerun: benchy may have a race."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"tried once more: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)

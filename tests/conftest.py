"""For all tests: benchy's package, and the uv that benchy itself uses."""

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

# A machine with no uv on its PATH has the one that bin/bootstrap installed.
if (ROOT / ".uv" / "bin" / "uv").exists():
    os.environ["PATH"] = f"{ROOT / '.uv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
# Under nohup, or in the background of a script, a process begins with these ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# The tests' makes are nobody's sub-makes, and no knob of the caller's is theirs.
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CONFIG", "LIMIT", "MODELS", "TASKS", "TEST",
             "SET", "FALLBACK", "FORMAT", "VERSION", "ENGINE", "CUTOFF", "SHARE",
             "TARGET", "V",
             "COLUMNS", "LINES"):  # fmt: skip  # pytest-xdist's, and not those of a test's terminal
    os.environ.pop(name, None)


# Of `make test-real`, what one process runs one after the other: Slurm's tests wait more than they
# compute, so the browser's and the harness's run beside them.
GROUPS = {"slurm": "slurm", "page": "beside", "e2e": "beside"}


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """One process runs all tests of a group.

    The mark xdist_group does nothing under pytest 9.2: pytest-xdist 3.8 writes it into
    Item._nodeid, which is not read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.split("/")[1]
        return GROUPS.get(folder, nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    return ByGroup(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A command that is called in this process takes its signals for itself alone."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What failed and then passed is told in full: it may be a race of benchy's own."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"tried once more: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)

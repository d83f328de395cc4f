"""Tests of finding and running uv: its output, its failures, and processes left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchy.environments import uv
from benchy.process import logged_program


def test_stdout_is_returned_and_stderr_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "logs/x.log"
    script = "cat; printf '\\033[32mgreen\\033[0m talk\\nlast' >&2; exit 3"
    done = logged_program.run_program(["sh", "-c", script], log, stdin="data\n")
    assert (done.status, done.stdout, done.stderr) == (3, "data\n", ["green talk", "last"])
    assert "green talk\nlast\n" in log.read_text()
    assert "\033" not in log.read_text()


def test_program_is_killed_at_its_timeout(tmp_path: Path) -> None:
    start = time.monotonic()
    done = logged_program.run_program(["sleep", "60"], tmp_path / "log", timeout=0.5)
    assert done.status == -signal.SIGKILL
    assert time.monotonic() - start < 10


def test_grandchild_that_keeps_the_pipe_open_does_not_block(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start = time.monotonic()
    done = logged_program.run_program(
        ["sh", "-c", f"sleep 60 & echo $! > {pid}; exit 0"], tmp_path / "log"
    )
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert done.status == 0
    assert time.monotonic() - start < 10


def test_program_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """After kill -9 of a builder, nothing may write to the folder that the next one cleans up."""
    pid = tmp_path / "pid"
    code = (
        "from pathlib import Path; from benchy.process import logged_program\n"
        f"program = ['sh', '-c', 'echo $$ > {pid}; exec sleep 60']\n"
        f"logged_program.run_program(program, Path('{tmp_path}/log'))"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(uv.__file__).parents[2])}
    builder = subprocess.Popen([sys.executable, "-c", code], env=environ)
    try:
        deadline = time.monotonic() + 20
        while not (pid.exists() and pid.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        builder.kill()
        builder.wait()
    child = Path(f"/proc/{pid.read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "sleep outlived its builder"
        time.sleep(0.05)


def test_log_over_the_size_limit_is_truncated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (logged_program.LOG_LIMIT + 1))
    logged_program.run_program(["true"], log)
    assert log.stat().st_size < 1000

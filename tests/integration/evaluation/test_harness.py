"""Command line, environment, log and output of the harness, and its child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchy.core.errors import Failure
from benchy.display.progress import Step
from benchy.evaluation import harness_output
from benchy.process import runner

# Lines of lm_eval 0.4.13 in setup_logging's format, after a bar without a newline.
BAR = "Requesting API:   0%|          | 0/12 [00:00<?, ?it/s]"


def test_text_after_a_bar_is_a_line_of_its_own_in_the_log(tmp_path: Path) -> None:
    text = run(
        f"print({BAR!r} + 'why'); print({BAR!r}, end=''); print('at last', end='')", tmp_path
    )
    assert text.splitlines() == ["why", BAR, "at last"]


# --- the child process ---


def run(
    script: str,
    tmp_path: Path,
    timeout: float | None = None,
    check: Any = lambda: None,
    stall: float | None = None,
) -> str:
    log = tmp_path / "logs" / "x.log"
    runner.run(
        [sys.executable, "-c", script],
        dict(os.environ),
        log,
        step=Step("EVAL", "m/t"),
        progress=harness_output.progress,
        check=check,
        timeout=timeout,
        stall=stall,
    )
    return log.read_text()


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_child_output_goes_to_a_private_log(tmp_path: Path) -> None:
    text = run("import sys; print('wörd'); print('x: 50%|# | 1/2 [a]', end='\\r')", tmp_path)
    assert "wörd" in text and "1/2" not in text.splitlines()[0]
    assert (tmp_path / "logs" / "x.log").stat().st_mode & 0o777 == 0o600


def test_failed_child_reports_its_status_or_signal(tmp_path: Path) -> None:
    with pytest.raises(runner.Ended) as failed:
        run("import sys; print('why'); sys.exit(3)", tmp_path)
    assert failed.value.words() == "ended with status 3"
    with pytest.raises(runner.Ended) as killed:
        run("import os; os.kill(os.getpid(), 9)", tmp_path)
    assert killed.value.status == -signal.SIGKILL and "SIGKILL" in killed.value.words()


GRANDCHILD = """
import subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("pid", other.pid, flush=True)
"""


@pytest.mark.parametrize(("name", "rest"), [("ends", ""), ("hangs", "time.sleep(600)")])
def test_no_process_of_the_child_s_group_survives(tmp_path: Path, name: str, rest: str) -> None:
    if rest:
        with pytest.raises(Failure, match="longer than its timeout of 1 s") as failed:
            run(GRANDCHILD + rest, tmp_path, timeout=1)
        assert failed.value.log == str(tmp_path / "logs" / "x.log")
        assert failed.value.hint.startswith("raise timeout in the task's file")
    else:
        run(GRANDCHILD, tmp_path)  # leaves a process that holds the pipe open
    pid = int((tmp_path / "logs" / "x.log").read_text().split()[1])
    assert gone(pid)


def test_failed_check_ends_the_child(tmp_path: Path) -> None:
    def dead() -> None:
        raise Failure("the server died")

    started = time.monotonic()
    with pytest.raises(Failure, match="the server died"):
        run("import time; time.sleep(600)", tmp_path, check=dead)
    assert time.monotonic() - started < 20


def test_child_without_output_is_ended_after_the_stall_timeout(tmp_path: Path) -> None:
    talk = "import time\nfor n in range(4): print(n, flush=True); time.sleep(0.5)\n"
    run(talk, tmp_path, stall=1.5)  # slow output is not a stall
    with pytest.raises(Failure, match="no progress for 1 s"):
        run(talk + "time.sleep(600)", tmp_path, stall=1)


def test_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    script = f"""
import sys
from pathlib import Path
from benchy.process import runner
from benchy.display.progress import Step
runner.run([sys.executable, "-c",
    "import os, time; open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(600)"],
    {{}}, Path({str(tmp_path)!r}) / "log", step=Step("T", "t"), progress=lambda line: None,
    check=lambda: None, timeout=None)
"""
    lib = str(Path(runner.__file__).parents[2])
    wrapper = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": lib})
    for _ in range(200):
        if pids.exists() and pids.read_text():
            break
        time.sleep(0.05)
    wrapper.kill()
    wrapper.wait()
    assert gone(int(pids.read_text()))

"""Runs a long command as a child, with its output in a log and its progress shown.

The child leads its own process group, which is killed when the child ends or is given up. The
kernel ends the child when this process dies (PR_SET_PDEATHSIG, Linux).
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from benchy.core.errors import Failure
from benchy.display import progress_bars
from benchy.display.progress import Step
from benchy.process import guardian


class Ended(Exception):
    """The child ended with a status other than 0. A negative status is the signal's number."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status

    def words(self) -> str:
        if self.status < 0:
            return f"was killed by {signal.Signals(-self.status).name}"
        return f"ended with status {self.status}"


def run(
    command: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    *,
    step: Step,
    progress: Callable[[str], tuple[str, int, int] | None] = lambda line: None,
    check: Callable[[], None] = lambda: None,
    timeout: float | None = None,
    stall: float | None = None,
) -> None:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        env: Its environment.
        log: File for its output, overwritten, with mode 0600.
        step: Receives the progress; its title names the command in messages.
        progress: Returns (stage, done, total) of an output line, or None if it is not a progress
            line.
        check: Called every few seconds; an exception that it raises ends the child.
        timeout: Seconds for the whole run, or None.
        stall: Seconds without output after which the run fails, or None.

    Raises:
        Ended: The status is not 0.
        Failure: A timeout or a stall.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    started = time.monotonic()
    parent = os.getpid()
    # Text goes to the log as it arrives, tqdm's redrawn lines only once a minute.
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", buffering=1) as file:
        process = subprocess.Popen(
            list(command),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: guardian.die_with_parent(signal.SIGKILL, parent),
        )
        lines = _Lines(file, step, progress)
        try:
            assert process.stdout is not None
            checked = 0.0
            # Descendants of the child may keep the pipe open forever, so the child's end decides.
            while lines.read(process.stdout.fileno()):
                if lines.idle and process.poll() is not None:
                    break
                now = time.monotonic()
                if timeout is not None and now - started > timeout:
                    raise Failure(
                        f"{step.title} took longer than its timeout of {timeout:g} s",
                        "raise timeout in the task's file", log,
                    )  # fmt: skip
                if stall is not None and now - lines.last_output > stall:
                    raise Failure(
                        f"{step.title} made no progress for {stall:g} s",
                        "raise stall_timeout in the task's file", log,
                    )  # fmt: skip
                if now - checked > 3:
                    check()
                    step.beat()
                    checked = now
            status = process.wait()
        finally:
            lines.close()
            _kill_group(process)
    if status != 0:
        raise Ended(status)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes of the child's group, even if the child itself has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


class _Lines:
    """The child's output, split at \\n and \\r: text goes to the log, progress to the step."""

    def __init__(
        self, log: IO[str], step: Step, progress: Callable[[str], tuple[str, int, int] | None]
    ) -> None:
        self.log, self.step, self.progress = log, step, progress
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.rest = ""
        self.idle = False  # whether the last second had no output
        self.logged = self.last_output = time.monotonic()  # last progress in the log

    def read(self, source: int) -> bool:
        """Read the available output within a second. Return False at its end."""
        self.idle = not select.select([source], [], [], 1.0)[0]
        if self.idle:
            return True
        data = os.read(source, 1 << 16)
        self.last_output = time.monotonic()
        *lines, self.rest = re.split(r"\r\n|\n|\r", self.rest + self.decode(data))
        for line in lines:
            self.take(line)
        return bool(data)

    def take(self, line: str) -> None:
        bars, rest = progress_bars.split(line)
        for text in filter(None, [*bars, rest]):
            self.record(text)

    def record(self, line: str) -> None:
        progress = self.progress(line)
        if progress is None:
            print(line, file=self.log)
            return
        stage, done, total = progress
        now = time.monotonic()
        if done == total or now - self.logged > 60:
            print(line, file=self.log)
            self.logged = now
        self.step.at(stage.lower(), done, total)

    def close(self) -> None:
        bars, rest = progress_bars.split(self.rest)
        for line in filter(None, [*bars, rest]):
            print(line, file=self.log)

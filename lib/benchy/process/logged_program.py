"""Runs a program to its end, with its output in a log and shown as progress."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from benchy.core import temporary_files
from benchy.display import progress
from benchy.process import guardian

LOG_LIMIT = 1 << 20  # bytes; a larger log is overwritten
# Colors, cursor movements, and uv's spinner and bars, which are useless in a log.
ANSI = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]")
DRAWN = re.compile(r"[\u2800-\u28ff]|-{8,}|[\u2500-\u259f]{4,}")
NETWORK = (
    "error sending request", "Failed to fetch", "dns error", "Connection refused",
    "Network connectivity is disabled", "operation timed out", "InvalidCertificate",
)  # fmt: skip
NOT_THERE = ("404 Not Found", "410 Gone")
NOISE = ("warning: Failed to inspect Python", "is missing an upload date")


@dataclass(frozen=True)
class Done:
    """How a program ended.

    Attributes:
        status: Exit status; negative: the signal that ended it.
        stdout: Its stdout.
        stderr: Lines of its stderr.
    """

    status: int
    stdout: str
    stderr: list[str] = field(default_factory=list)

    @property
    def offline(self) -> bool:
        """Whether it failed because an index could not be reached.

        An index that answers "not found" was reached.
        """
        if any(mark in line for line in self.stderr for mark in NOT_THERE):
            return False
        return any(mark in line for line in self.stderr for mark in NETWORK)

    @property
    def disk_full(self) -> bool:
        return any(
            "No space left on device" in line or "os error 28" in line for line in self.stderr
        )

    def error_lines(self, count: int = 12) -> list[str]:
        """Return up to `count` lines that explain a failure.

        They begin at the first error; without one, they are the last lines.
        """
        lines = [line.rstrip() for line in self.stderr if line.strip()]
        lines = [line for line in lines if not any(noise in line for noise in NOISE)]
        starts = [n for n, line in enumerate(lines) if re.match(r"\s*(error|Caused by)\b", line)]
        return lines[starts[0] :][:count] if starts else lines[-count:]


def run_program(
    command: Sequence[str],
    log: Path,
    label: str = "",
    stdin: str | None = None,
    environ: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Done:
    """Run a program. Its stderr goes to the log and is shown as progress.

    The program is killed when this process dies, so that a killed build leaves no process that
    still writes to the folder that the next build cleans up.

    Args:
        command: Program and arguments.
        log: Log to append to.
        label: Stage to show, or "" to show nothing.
        stdin: Its input.
        environ: Its environment; None: inherited.
        timeout: Seconds, after which it is killed and the status is -9.
    """
    terminal = bool(label) and (sys.stderr.isatty() or progress.displayed())
    reader, writer = pty.openpty() if terminal else os.pipe()
    stderr: list[str] = []
    parent = os.getpid()
    where = temporary_files.place()
    with (
        open_log(log) as book,
        tempfile.TemporaryFile(dir=where) as out,
        tempfile.TemporaryFile(dir=where) as given,
    ):
        book.write(f"$ {' '.join(command)}\n".encode())
        given.write((stdin or "").encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                command, stdin=given, stdout=out, stderr=writer, env=environ,
                preexec_fn=lambda: guardian.die_with_parent(signal.SIGKILL, parent),
            )  # fmt: skip
        finally:
            os.close(writer)
        try:
            with ending(process):
                for line in shown(lines(reader, process, timeout), label, terminal):
                    stderr.append(line)
                    book.write(f"{line}\n".encode())
        finally:
            os.close(reader)
        out.seek(0)
        return Done(process.returncode, out.read().decode(errors="replace"), stderr)


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[BinaryIO]:
    """Open a log to append to it, and write a line with the current time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    too_long = path.exists() and path.stat().st_size > LOG_LIMIT
    how = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if too_long else os.O_APPEND)
    with os.fdopen(os.open(path, how, 0o600), "wb", buffering=0) as book:  # only for the owner
        book.write(f"\n# {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC\n".encode())
        yield book


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Wait for the process at the end. If the block fails, terminate it."""
    try:
        yield
        process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def lines(
    reader: int, process: subprocess.Popen[bytes], timeout: float | None
) -> Iterator[str | None]:
    """Yield lines without colors as they arrive, and None about every second of silence."""
    rest, deadline = b"", None if timeout is None else time.monotonic() + timeout
    while True:
        if deadline and time.monotonic() > deadline:
            process.kill()
            deadline = None
        ready, _, _ = select.select([reader], [], [], 1.0)
        if not ready:
            # A grandchild may keep the pipe open after the program itself has ended.
            if process.poll() is not None:
                break
            yield None
            continue
        try:
            chunk = os.read(reader, 65536)
        except OSError:  # Linux reports EIO when the other end of a terminal is closed
            chunk = b""
        if not chunk:
            break
        *complete, rest = re.split(rb"[\r\n]+", rest + chunk)
        for part in complete:
            yield ANSI.sub(b"", part).decode(errors="replace")
    if rest:
        yield ANSI.sub(b"", rest).decode(errors="replace")


def shown(source: Iterator[str | None], label: str, terminal: bool) -> Iterator[str]:
    """Yield the lines worth keeping, and show the newest one as progress."""
    newest = ""
    with progress.stage(label) as step:
        for line in source:
            if line and line.strip():
                newest = newest if any(noise in line for noise in NOISE) else line.strip()
                if not (terminal and DRAWN.search(line)):
                    yield line
            if label:
                step.at(label if label != step.title else "", text=newest)

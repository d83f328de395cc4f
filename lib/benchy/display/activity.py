"""The board: what each run, model, task and environment of this checkout is doing.

Each working process writes a small file, its note, so that `make status` and the display of a run
know the state without asking other processes. The path is run/board/<kind>/<name>.json. The kind is
model, task or environment; the name is [limit-N/]MODEL[/TASK], or that of the environment. A note
about work in progress is valid while the process that wrote it lives. A note about a failure stays
until the same work is tried again or is done. run/board/run/<host>.<pid>.json holds what a bin/run
knows in addition: which models wait, what for, and the jobs of a launcher.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchy.core import paths, process_info, temporary_files

BOARD = paths.RUN / "board"
ticks = process_info.born
BUILDING, FETCHING, STARTING, SERVING = "building", "fetching", "starting", "serving"
RUNNING, FAILED = "running", "failed"
RUN_PID = "BENCHY_BOARD"  # the variable with the pid of the run that a command works for
HEARTBEAT = 30.0  # seconds after which an unchanged note is rewritten
SILENT = 4 * HEARTBEAT  # seconds after which a process of another host counts as dead
KEPT = 30 * 24 * 3600  # seconds; a dead run's note tells other hosts whose jobs are left


@dataclass(frozen=True)
class Note:
    """A note on the board about one model, task or environment.

    Attributes:
        kind: "model", "task" or "environment".
        name: Name of the subject, as name() builds it.
        state: One of the states above.
        stage: Part of the state, in words.
        done: How much of the stage is done.
        total: How much the stage has to do, or 0 if it is not known.
        began: Start of the state, in seconds since 1970.
        since: Start of the stage, in seconds since 1970.
        at: How much of the stage was done when it was first counted.
        text: The error of a failure, or text to show beside the stage.
        log: Path of the log of a failure.
        pid: Process that wrote the note.
        ticks: Start of that process, in the kernel's clock ticks.
        host: Host and pid namespace of that process (process_info.host).
        run: Pid of the bin/run that the work belongs to, or 0 for none.
    """

    kind: str
    name: str
    state: str
    stage: str = ""
    done: int = 0
    total: int = 0
    began: float = 0
    since: float = 0
    at: int = 0
    text: str = ""
    log: str = ""
    pid: int = 0
    ticks: int = 0
    host: str = ""
    run: int = 0

    @property
    def path(self) -> Path:
        return BOARD / self.kind / f"{self.name}.json"

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the stage ends at the rate so far, or None if not known."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate and self.total else None

    def rate(self, now: float) -> float | None:
        """Return the rate of the stage per second, or None if it is not known."""
        seconds = now - self.since
        return (self.done - self.at) / seconds if self.done > self.at and seconds >= 1 else None


@dataclass(frozen=True)
class RunNote:
    """A note about a bin/run in progress.

    Attributes:
        pid: Its process.
        ticks: Start of that process, in the kernel's clock ticks.
        host: Its host and pid namespace.
        began: Its start, in seconds since 1970.
        waiting: Model → what it waits for, in the order of the queue.
        jobs: Model → its launcher job and node, in words.
        plan: Folder of its plan.
    """

    pid: int
    ticks: int
    host: str
    began: float
    waiting: Mapping[str, str] = field(default_factory=dict)
    jobs: Mapping[str, str] = field(default_factory=dict)
    plan: str = "build"


def name(model: str, task: str | None = None, limit: int | None = None) -> str:
    """Return the name of a note: [limit-N/]MODEL[/TASK]."""
    return "/".join(filter(None, [paths.limit_dir(limit), model, task]))


def put(note: Note) -> Note:
    """Write a note for this process and return it as written.

    Errors are ignored: without a board, only the display is incomplete.
    """
    pid, now = os.getpid(), time.time()
    note = replace(
        note, pid=pid, ticks=ticks(pid) or 0, host=process_info.host(), began=note.began or now,
        since=note.since or now, run=note.run or run_of(),
    )  # fmt: skip
    _write(note.path, asdict(note))
    return note


def put_run(
    waiting: Mapping[str, str], began: float, jobs: Mapping[str, str], plan: str = "build"
) -> None:
    """Write this run's note: what its models wait for, their jobs, and its plan's folder."""
    pid = os.getpid()
    note = RunNote(pid, ticks(pid) or 0, process_info.host(), began, waiting, jobs, plan)
    _write(_own(), asdict(note))


@contextlib.contextmanager
def run_under_way(plan: str) -> Iterator[None]:
    """Mark this process as a run while inside.

    It starts before the run makes its plan, so that no other process remakes the plan. Leftovers of
    killed runs are deleted first.
    """
    if forget_killed():
        temporary_files.sweep_all()
    os.environ[RUN_PID] = str(os.getpid())
    put_run({}, time.time(), {}, plan)
    try:
        yield
    finally:
        clear_run()


def _own() -> Path:
    return BOARD / "run" / f"{process_info.host()}.{os.getpid()}.json"


def _write(path: Path, what: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        paths.RUN.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary_files.write(path, json.dumps(what) + "\n", mode=0o600)


def clear(kind: str, name: str) -> None:
    """Delete a note."""
    with contextlib.suppress(OSError):
        Note(kind, name, "").path.unlink()


def clear_run() -> None:
    with contextlib.suppress(OSError):
        _own().unlink()


def notes() -> Iterator[Note]:
    """Yield all valid notes, sorted by name. Notes of dead processes are deleted."""
    for kind in ("model", "task", "environment"):
        for path, fields, age in _read(BOARD / kind):
            with contextlib.suppress(TypeError):  # written by another release of benchy
                note = Note(**fields)
                if note.state == FAILED or alive(note, age):
                    yield note
                elif note.host == process_info.host() or age > 24 * 3600:
                    path.unlink(missing_ok=True)


def runs() -> Iterator[RunNote]:
    """Yield the runs in progress in this checkout.

    The note of a killed run of this host is kept. It shows the next run, and a `make results` with
    nothing to do, that there are leftovers to clean up.
    """
    for path, fields, age in _read(BOARD / "run"):
        with contextlib.suppress(TypeError):
            note = RunNote(**fields)
            if alive(note, age):
                yield note
            elif note.host != process_info.host() and age > KEPT:
                path.unlink(missing_ok=True)


def forget_killed() -> bool:
    """Delete the notes of this host's dead runs and of their workers.

    Returns whether there were any dead runs.
    """
    any_dead = False
    for path, fields, age in _read(BOARD / "run"):
        with contextlib.suppress(TypeError):
            note = RunNote(**fields)
            if note.host == process_info.host() and not alive(note, age):
                path.unlink(missing_ok=True)
                any_dead = True
    if any_dead:
        list(notes())  # deletes the notes of dead processes
    return any_dead


def silent() -> set[tuple[str, int, int]]:
    """Return (host, pid, ticks) of runs on other hosts that count as dead.

    These have not written a note for SILENT seconds. Ages use the clock of the file system, which
    can differ from this host's clock.
    """
    clock = temporary_files.aside(BOARD / "run/clock")
    try:
        clock.parent.mkdir(parents=True, exist_ok=True)
        clock.touch()
        ahead = time.time() - clock.stat().st_mtime
        clock.unlink()
    except OSError:
        return set()
    dead = set()
    for _, fields, age in _read(BOARD / "run"):
        with contextlib.suppress(TypeError):
            note = RunNote(**fields)
            if note.host != process_info.host() and age - ahead >= SILENT:
                dead.add((note.host, note.pid, note.ticks))
    return dead


def _read(folder: Path) -> Iterator[tuple[Path, dict[str, Any], float]]:
    """Yield (file, content, seconds since it was written) for each note."""
    for path in sorted(folder.rglob("[!.]*.json")):
        with contextlib.suppress(OSError, ValueError):  # replaced in the meantime, or damaged
            with path.open(encoding="utf-8") as file:  # makes NFS ask its server for the age
                age = time.time() - os.fstat(file.fileno()).st_mtime
                fields = json.load(file)
            yield path, fields, age


def alive(note: Note | RunNote, age: float) -> bool:
    """Return whether the process that wrote a note still lives.

    age: seconds since the note was written. It decides for processes of other hosts.
    """
    lives = process_info.lives(note.host, note.pid, note.ticks)
    return age < SILENT if lives is None else lives


def run_of() -> int:
    """Return the pid of the bin/run that this process works for, or 0 for none."""
    text = os.environ.get(RUN_PID, "")
    return int(text) if text.isdecimal() else 0

"""The board: what each run, model, task and environment of this checkout is at.

Who works pins a note, one small file each, so that `make status` and the display of a run can tell
without asking anyone: run/board/<kind>/<name>.json; kind: model, task or environment; name:
[limit-N/]MODEL[/TASK], or the environment's. A note of something under way counts while the process
that wrote it lives; that of a failure stays until the same thing is tried again or is done.
run/board/run/<host>.<pid>.json is what a bin/run knows besides: which models wait, and what for,
and the jobs of a launcher.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
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
RUN_PID = "BENCHY_BOARD"  # the variable that tells a run's commands who they work for
HEARTBEAT = 30.0  # seconds after which a note that has not changed is written again
SILENT = 4 * HEARTBEAT  # seconds after which the note of another machine's process is dead
KEPT = 30 * 24 * 3600  # seconds; a dead run's note tells another host whose jobs are left


@dataclass(frozen=True)
class Note:
    """state: one of those above. stage: of it, in words. done, total: what the stage has to do, 0
    where that is not known. began: of the state, since: of the stage, in seconds since 1970; at:
    how much of the stage was done when it was first counted. run: pid of the bin/run that it
    belongs to, 0 for none. text: of a failure, or what a person sees beside the stage. log: of a
    failure."""

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

    def left(self, now: float) -> float | None:
        """Seconds that the stage still takes at the rate so far; None where that is not known."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate and self.total else None

    def rate(self, now: float) -> float | None:
        """How many a second in this stage; None where that is not known."""
        seconds = now - self.since
        return (self.done - self.at) / seconds if self.done > self.at and seconds >= 1 else None


@dataclass(frozen=True)
class RunNote:
    """A bin/run under way. waiting: model → what it waits for, in the order of their turns. jobs:
    model → its job of a launcher, in words, with its node. plan: the folder of its plan."""

    pid: int
    ticks: int
    host: str
    began: float
    waiting: Mapping[str, str] = field(default_factory=dict)
    jobs: Mapping[str, str] = field(default_factory=dict)
    plan: str = "build"


def name(model: str, task: str | None = None, limit: int | None = None) -> str:
    """[limit-N/]MODEL[/TASK]"""
    return "/".join(filter(None, [paths.limit_dir(limit), model, task]))


def put(note: Note) -> Note:
    """Pin a note as this process's; it as written. A board that can't be written costs nothing but
    the sight of it."""
    pid, now = os.getpid(), time.time()
    note = replace(
        note, pid=pid, ticks=ticks(pid) or 0, host=host(), began=note.began or now,
        since=note.since or now, run=note.run or run_of(),
    )  # fmt: skip
    _write(note.path, asdict(note))
    return note


def put_run(
    waiting: Mapping[str, str], began: float, jobs: Mapping[str, str], plan: str = "build"
) -> None:
    """Pin what this run's models wait for, their jobs, and where its plan lies."""
    pid = os.getpid()
    note = RunNote(pid, ticks(pid) or 0, host(), began, waiting, jobs, plan)
    _write(_own(), asdict(note))


@contextlib.contextmanager
def run_under_way(plan: str) -> Iterator[None]:
    """While inside, this process is a run: from before it makes its plan, which nobody else makes
    anew meanwhile. What runs that were killed have left is removed first."""
    if forget_killed():
        temporary_files.sweep_all()
    os.environ[RUN_PID] = str(os.getpid())
    put_run({}, time.time(), {}, plan)
    try:
        yield
    finally:
        clear_run()


def _own() -> Path:
    return BOARD / "run" / f"{host()}.{os.getpid()}.json"


def _write(path: Path, what: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        paths.RUN.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary_files.write(path, json.dumps(what) + "\n", mode=0o600)


def clear(kind: str, name: str) -> None:
    """Take a note off the board."""
    with contextlib.suppress(OSError):
        Note(kind, name, "").path.unlink()


def clear_run() -> None:
    with contextlib.suppress(OSError):
        _own().unlink()


def notes() -> Iterator[Note]:
    """All notes that count, in order of their names."""
    for kind in ("model", "task", "environment"):
        for path, said, age in _read(BOARD / kind):
            with contextlib.suppress(TypeError):  # of another release of benchy
                note = Note(**said)
                if note.state == FAILED or alive(note, age):
                    yield note
                elif note.host == host() or age > 24 * 3600:
                    path.unlink(missing_ok=True)


def runs() -> Iterator[RunNote]:
    """The runs under way in this checkout. The note of one that was killed stays: the next run, and
    `make results` with nothing to do, know by it that there is something to be cleaned up."""
    for path, said, age in _read(BOARD / "run"):
        with contextlib.suppress(TypeError):
            note = RunNote(**said)
            if alive(note, age):
                yield note
            elif note.host != host() and age > KEPT:
                path.unlink(missing_ok=True)


def forget_killed() -> bool:
    """Take the notes of this host's dead runs off the board, and of what worked for them; whether
    there were any runs."""
    found = False
    for path, said, age in _read(BOARD / "run"):
        with contextlib.suppress(TypeError):
            note = RunNote(**said)
            if note.host == host() and not alive(note, age):
                path.unlink(missing_ok=True)
                found = True
    if found:
        list(notes())  # which drops those of dead processes
    return found


def silent() -> set[tuple[str, int, int]]:
    """(host, pid, ticks) of runs of other hosts that have written no note for so long that they are
    dead. Ages are told by the clock of the file system, which this host's may differ from."""
    clock = temporary_files.aside(BOARD / "run/clock")
    try:
        clock.parent.mkdir(parents=True, exist_ok=True)
        clock.touch()
        ahead = time.time() - clock.stat().st_mtime
        clock.unlink()
    except OSError:
        return set()
    found = set()
    for _, said, age in _read(BOARD / "run"):
        with contextlib.suppress(TypeError):
            note = RunNote(**said)
            if note.host != host() and age - ahead >= SILENT:
                found.add((note.host, note.pid, note.ticks))
    return found


def _read(folder: Path) -> Iterator[tuple[Path, dict[str, Any], float]]:
    """(file, what it says, seconds since it was written) of each note."""
    for path in sorted(folder.rglob("[!.]*.json")):
        with contextlib.suppress(OSError, ValueError):  # replaced meanwhile, or damaged
            with path.open(encoding="utf-8") as file:  # opened, NFS asks its server for the age
                age = time.time() - os.fstat(file.fileno()).st_mtime
                said = json.load(file)
            yield path, said, age


def alive(note: Note | RunNote, age: float) -> bool:
    """Whether the process that wrote a note still works. age: of the file, in seconds; it tells
    where the process is another machine's."""
    if note.host != host():
        return age < SILENT
    return ticks(note.pid) == note.ticks


def run_of() -> int:
    """The pid of the bin/run that this process works for, 0 for none."""
    text = os.environ.get(RUN_PID, "")
    return int(text) if text.isdecimal() else 0


@functools.cache
def host() -> str:
    return socket.gethostname()

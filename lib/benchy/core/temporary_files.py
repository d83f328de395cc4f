"""Temporary files and folders, which take their final name in one rename.

Each is made in the same folder as its final path. Its name identifies the process that made it:

    .NAME~HOST~PID-BORN.tmp     BORN: start of the process in kernel ticks, since pids are reused

A killed process leaves its temporary files. The next process of this host that makes one in the
same folder deletes them, and the next run deletes them in all folders of the checkout
(`sweep_all`). The state of another host's processes is not known here: `make gc` lists their old
files.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchy.core import paths, process_info
from benchy.core.errors import Failure

FORM = re.compile(r"\.(.+)~([^~/]+)~(\d+)-(\d+)\.tmp", re.S)
LONGEST = 255  # bytes of a file name on every common file system
HOUR = 3600
OLD = 7 * 24 * 3600.0  # seconds after which another host's temporary file is garbage
# Folders that benchy writes to, with search depth: not into environments or caches of answers.
TOPS = {
    paths.BUILD: 5, paths.RUN: 4, paths.RESULTS: 3, paths.LOGS: 3, paths.VENVS: 2,
    paths.CONFIGS / "locks": 0, Path(".venv"): 0, Path(): 0,
}  # fmt: skip
_swept: set[Path] = set()  # folders that this process has already searched
_count = itertools.count(1)


def aside(path: Path) -> Path:
    """Return a temporary path beside `path` that no other process of any host uses.

    Deletes what dead processes left in that folder.
    """
    sweep(path.parent)
    ending = f"~{process_info.host()}~{os.getpid()}-{process_info.born(os.getpid()) or 0}.tmp"
    name = path.name
    while len(os.fsencode(f".{name}{ending}")) > LONGEST:
        name = name[:-1]
    return path.with_name(f".{name}{ending}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` at the end.

    If the block fails, the temporary file is deleted.
    """
    new = aside(path)
    try:
        yield new
        new.replace(path)
    except BaseException as error:
        remove(new)
        if isinstance(error, OSError) and error.filename in (None, str(new), new):
            error.filename, error.filename2 = str(path), None  # a failed write names no file
        raise


def write(
    path: Path, data: str | bytes, *, mode: int = 0o666, errors: str = "strict", sync: bool = False
) -> None:
    """Write a file in one rename.

    Args:
        path: The file.
        data: Its content.
        mode: Its permissions, less the umask.
        errors: Error handling, as for str.encode.
        sync: Flush the content to the disk before the rename.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", errors)
    with replacing(path) as new:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())


def place() -> Path:
    """Return this user's private folder for temporary files, and make it. Raises Failure."""
    # tempfile.gettempdir() tests each folder with a file, which stays if the process is killed.
    given = (os.environ.get("TMPDIR"), "/tmp", "/var/tmp")  # noqa: S108
    parent = next((name for name in given if name and os.access(name, os.W_OK | os.X_OK)), "/tmp")  # noqa: S108
    directory = Path(parent) / f"benchy-{os.getuid()}"
    private(directory, "set TMPDIR to another directory")
    return directory


@contextmanager
def folder(what: str) -> Iterator[Path]:
    """Yield a new folder in place() and delete it afterwards. Raises Failure or OSError."""
    made = aside(place() / f"{what}-{next(_count)}")
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        remove(made)


def remove(path: Path) -> None:
    """Delete a file or folder if it exists. Errors are ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def dead(name: str) -> bool | None:
    """Return whether this is the name of a temporary file of a dead process.

    Returns None if a process of another host made it.
    """
    match = FORM.fullmatch(name)
    if not match:
        return False
    lives = process_info.lives(match[2], int(match[3]), int(match[4]))
    return None if lives is None else not lives


def sweep(folder: Path) -> None:
    """Delete what dead processes of this host left in a folder, once per process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and dead(entry.name):
                remove(Path(entry.path))


def sweep_all() -> None:
    """Delete what dead processes of this host left in this checkout and in place()."""
    for path in _all():
        if dead(path.name):
            remove(path)
    _swept.discard(place())
    sweep(place())
    # Python's own temporary files for compiled modules.
    for path in paths.CODE.glob("*/__pycache__/*.pyc.*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > HOUR:
                path.unlink()


def leftovers() -> Iterator[Path]:
    """Yield leftovers of dead processes of this host, and old ones of other hosts."""
    for path in _all():
        state = dead(path.name)
        with contextlib.suppress(OSError):
            if state or (state is None and time.time() - path.lstat().st_mtime > OLD):
                yield path


def _all() -> Iterator[Path]:
    """Yield all temporary files and folders of the checkout."""
    for top, depth in TOPS.items():
        yield from _below(top, depth)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if FORM.fullmatch(entry.name):
                yield Path(entry.path)
            elif depth and entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path), depth - 1)


def private(path: Path, hint: str) -> None:
    """Make a directory with mode 0700.

    Raises Failure if the path exists and is not a directory that only this user can access. hint:
    how to use another directory, as the end of the failure's hint.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise Failure(
            f"{path} is not a directory that only this user can access",
            f"find out who made it and remove it, or {hint}",
        )

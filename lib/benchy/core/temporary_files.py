"""Files and folders on their way: each is made beside what it will be, and takes its place in one
rename. One name for all of them, which says whose they are:

    .NAME~HOST~PID-BORN.tmp     BORN: when the process began, in the kernel's ticks; pids come again

A process that is killed leaves its own. Whoever next makes one in the same folder removes those of
this host's dead processes first, and so does the next run, in all folders of the checkout
(`sweep_all`). Of another host's processes nothing is known here: `make gc` lists what is old.
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
LONGEST = 255  # bytes of a name, to every common file system
HOUR = 3600
OLD = 7 * 24 * 3600.0  # seconds after which another host's is waste
# Where benchy writes, and how deep below: neither environments nor answers that are kept.
TOPS = {
    paths.BUILD: 5, paths.RUN: 4, paths.RESULTS: 3, paths.LOGS: 3, paths.VENVS: 2,
    paths.CONFIGS / "locks": 0, Path(".venv"): 0, Path(): 0,
}  # fmt: skip
_swept: set[Path] = set()  # folders that this process has looked through
_count = itertools.count(1)


def aside(path: Path) -> Path:
    """Where a file or folder is made before it takes its place: beside it, by a name that no other
    process of any host that sees it has. Removes what dead processes left there."""
    sweep(path.parent)
    ending = f"~{process_info.host()}~{os.getpid()}-{process_info.born(os.getpid()) or 0}.tmp"
    name = path.name
    while len(os.fsencode(f".{name}{ending}")) > LONGEST:
        name = name[:-1]
    return path.with_name(f".{name}{ending}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives where to write a file that takes its place at the end; nothing stays if that fails."""
    new = aside(path)
    try:
        yield new
        new.replace(path)
    except BaseException as error:
        remove(new)
        if isinstance(error, OSError) and error.filename in (None, str(new), new):
            error.filename, error.filename2 = str(path), None  # a write tells no name
        raise


def write(
    path: Path, data: str | bytes, *, mode: int = 0o666, errors: str = "strict", sync: bool = False
) -> None:
    """Write a file in one rename. mode: its rights, less the umask. errors: as of str.encode.
    sync: its bytes are on the disk before its name is."""
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
    """This user's own folder where the machine keeps temporary files. Raises Failure."""
    # tempfile.gettempdir() tries each with a file of its own, which a kill leaves there.
    given = (os.environ.get("TMPDIR"), "/tmp", "/var/tmp")  # noqa: S108
    there = next((name for name in given if name and os.access(name, os.W_OK | os.X_OK)), "/tmp")  # noqa: S108
    found = Path(there) / f"benchy-{os.getuid()}"
    private(found)
    return found


@contextmanager
def folder(what: str) -> Iterator[Path]:
    """A folder of our own in place(), gone afterwards. Raises Failure, OSError."""
    made = aside(place() / f"{what}-{next(_count)}")
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        remove(made)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def dead(name: str) -> bool | None:
    """Is this the name of what a dead process left? None: a process of another host made it."""
    match = FORM.fullmatch(name)
    if not match:
        return False
    return (
        None
        if match[2] != process_info.host()
        else process_info.born(int(match[3])) != int(match[4])
    )


def sweep(folder: Path) -> None:
    """Remove from a folder what dead processes of this host left; once in a process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for each in found:
            if each.name.startswith(".") and dead(each.name):
                remove(Path(each.path))


def sweep_all() -> None:
    """Remove what dead processes of this host left in this checkout, and in place()."""
    for path in _all():
        if dead(path.name):
            remove(path)
    _swept.discard(place())
    sweep(place())
    # Python's own, of a module that was just compiled.
    for path in paths.CODE.glob("*/__pycache__/*.pyc.*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > HOUR:
                path.unlink()


def left() -> Iterator[Path]:
    """What dead processes of this host left in this checkout, and what of others is old."""
    for path in _all():
        state = dead(path.name)
        with contextlib.suppress(OSError):
            if state or (state is None and time.time() - path.lstat().st_mtime > OLD):
                yield path


def _all() -> Iterator[Path]:
    """All files and folders that have the name of one on its way."""
    for top, depth in TOPS.items():
        yield from _below(top, depth)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for each in sorted(found, key=lambda one: one.name):
            if FORM.fullmatch(each.name):
                yield Path(each.path)
            elif depth and each.is_dir(follow_symlinks=False):
                yield from _below(Path(each.path), depth - 1)


def private(path: Path) -> None:
    """Make a directory with mode 0700. Raises Failure if somebody else could have put files in."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Failure(
            f"{path} is no directory of this user alone",
            "see who made it and remove it, or set BENCHY_LEASES to another directory",
        )

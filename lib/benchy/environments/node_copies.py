"""Copy environments to a node's local disk if the network file system opens files slowly.

Importing vLLM opens tens of thousands of files; an archive is read sequentially. `bin/venv pack`
writes venvs/.packed/ENV/KEY.tar once, before the jobs start. The first job on a node unpacks it to
NODE_SCRATCH/benchy-UID/CHECKOUT/ENV/KEY. KEY is a hash of the stamp, so it identifies one build. A
copy works in its new folder, because Python locates its packages relative to itself. If an
environment cannot be copied, a warning is printed and the original is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import IO

from benchy.core import hashing, paths, temporary_files
from benchy.core.errors import Failure
from benchy.display.messages import say
from benchy.environments import usage_locks
from benchy.process.signals import Signals, run_quietly

# Variables of a job: the folder to copy to, and the environments to copy.
SCRATCH, NAMED = "BENCHY_SCRATCH", "BENCHY_SCRATCH_ENVIRONMENTS"
PACKED = paths.VENVS / ".packed"
_held: list[IO[str]] = []  # locks of the copies in use, held until this process ends


def key(env: str) -> str:
    """Return the key of an environment's current build. Raises OSError if there is none."""
    return hashing.of_bytes(paths.stamp(env).read_bytes())[:12]


def pack(env: str) -> Path:
    """Return the archive of an environment's current build, writing it if it does not exist.

    Raises Failure if the environment is not built or tar fails.
    """
    with usage_locks.used(env):
        try:
            target = PACKED / env / f"{key(env)}.tar"
        except OSError:
            raise Failure(f"{env} is not built", f"bin/venv create {env}") from None
        if target.exists():
            return target
        say("PACK", str(target))
        forget(env)
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_files.replacing(target) as aside:
            words = ["tar", "-C", str(paths.env_dir(env)), "-cf", str(aside), "."]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["tar failed"])[-1]
                raise Failure(
                    f"{env} cannot be packed: {why}",
                    "free some space, or remove scratch from the configuration",
                )
    return target


def forget(env: str) -> None:
    """Remove the archives of an environment."""
    shutil.rmtree(PACKED / env, ignore_errors=True)


def folder(env: str) -> Path:
    """Return the folder to run an environment from: its copy on this node, else the original.

    The copy stays locked against removal until this process ends.
    """
    if os.environ.get(SCRATCH):
        try:
            copy = _place() / env / key(env)
            if _hold(copy):
                return copy
        except (OSError, Failure):
            pass  # bring() has already printed the reason
    return paths.env_dir(env)


def bring(signals: Signals) -> None:
    """Unpack the environments of this job on this node, except those already there.

    Prints a warning for each that cannot be unpacked.
    """
    for env in os.environ.get(NAMED, "").split() if os.environ.get(SCRATCH) else ():
        try:
            _unpack(env, signals)
        except (OSError, Failure) as error:
            why = error.what if isinstance(error, Failure) else str(error)
            say("WARNING", f"{env} is not copied to this node: {why}; the original is used")


def _place() -> Path:
    """Return this checkout's folder on this node's disk. Raises Failure, OSError."""
    written = os.environ[SCRATCH]
    base = Path(os.path.expandvars(written)).expanduser()
    if "$" in str(base) or not base.is_absolute():
        raise Failure(f"scratch {written!r} is {base} on this node, which is not an absolute path")
    ours = base / f"benchy-{os.getuid()}"
    ours.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = ours.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022 or ours.is_symlink():
        raise Failure(f"{ours} is not private to this user")
    return ours / hashing.of_text(str(paths.ROOT.resolve()))[:10]


def _lock(copy: Path) -> IO[str]:
    return copy.with_name(f".{copy.name}.lock").open("a+")


def _hold(copy: Path) -> bool:
    """Lock a copy for use; return False if there is none or it is being removed."""
    if not copy.exists():
        return False
    file = _lock(copy)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if (copy / ".stamp").exists():
            _held.append(file)
            return True
    file.close()
    return False


def _unpack(env: str, signals: Signals) -> None:
    """Unpack the archive of an environment on this node. Raises Failure, OSError."""
    copy = _place() / env / key(env)
    archive = (PACKED / env / f"{copy.name}.tar").absolute()
    copy.parent.mkdir(parents=True, exist_ok=True)
    with _lock(copy) as file:
        if (copy / ".stamp").exists():
            return
        fcntl.flock(file, fcntl.LOCK_EX)  # another job on this node may be unpacking it
        if (copy / ".stamp").exists():
            return
        _remove_others(copy)
        shutil.rmtree(copy, ignore_errors=True)  # remains after the node's own clean-up
        size, free = archive.stat().st_size, shutil.disk_usage(copy.parent).free
        if free < 1.1 * size:
            raise Failure(f"{copy.parent} has {free >> 20} MiB free, but needs {size >> 20} MiB")
        aside = temporary_files.aside(copy)
        aside.mkdir()
        say("UNPACK", f"{env} to {copy}")
        try:
            words = ["tar", "-C", str(aside), "-xf", str(archive)]
            failed = run_quietly(signals, "tar", words, os.environ)
            if failed or not (aside / ".stamp").exists():
                raise Failure(f"{archive} cannot be unpacked to {copy}")
            aside.rename(copy)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _remove_others(copy: Path) -> None:
    """Remove unused copies of earlier builds of this environment."""
    for other in copy.parent.iterdir():
        if other.name.startswith(".") or other == copy:
            continue
        with _lock(other) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(other, ignore_errors=True)

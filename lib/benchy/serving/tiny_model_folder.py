"""Makes the folder of the tiny model, once for all processes that need it.

The bytes of scripts/tiny_model.py are part of what results are made from, so the lock is here.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from benchy.core import paths, temporary_files
from benchy.core.errors import Failure, of_system
from benchy.core.specs import ServerSpec


def ready(server: ServerSpec) -> None:
    """Make the folder of a server's model if that is the tiny model and it is missing.

    Raises Failure.
    """
    path = Path(server["path"] or "")
    if server["make"] != "tiny" or not server["path"] or _complete(path):
        return
    try:
        _make(path)
    except OSError as error:
        # A process of another host may have made it; not every file system locks across hosts.
        if not _complete(path):
            what = f"{server['model']}: {path} could not be created"
            raise Failure(f"{what}: {of_system(error)}") from None


def _complete(path: Path) -> bool:
    return (path / "config.json").exists()  # the folder takes its name in one rename


def _make(path: Path) -> None:
    from benchy.scripts import tiny_model  # noqa: PLC0415 - few processes make it

    paths.RUN.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(paths.RUN / "tiny-model.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(path):
            new = temporary_files.aside(path)
            try:
                tiny_model.make(path, new)
            finally:
                temporary_files.remove(new)
    finally:
        os.close(lock)

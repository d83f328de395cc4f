"""Cheap checks, before every use, that an environment is still what its stamp says.

    bin/health        removes the stamps of broken environments, so that Make rebuilds them

Reads venvs/*/.stamp and each environment's directory: about 0.3 ms per environment, without
starting a process (bin/venv check also asks uv). Replaces the stamp of a broken environment with
venvs/<env>/.broken, which holds the reason. Imports little, because every `make venvs` runs it.
"""

from __future__ import annotations

import base64
import calendar
import contextlib
import csv
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from benchy.core import files, paths
from benchy.core.text import listed
from benchy.display.messages import say
from benchy.environments import link_mode, lock_file, usage_locks

SHOWN = 3  # maximum number of names in a reason


def distributions(folder: Path) -> list[str]:
    """Return the installed distributions ("name-version", from .dist-info directories), sorted."""
    names = []
    for place in (folder / "lib").glob("python3*/site-packages"):
        names += [name[:-10] for name in os.listdir(place) if name.endswith(".dist-info")]  # noqa: PTH208
    return sorted(names)


def seal(folder: Path, locked: Collection[str] = ()) -> dict[str, Any]:
    """Return the facts about a directory that a stamp records and `flaw` compares.

    locked: normalized names of the distributions to record, for an environment whose other
    distributions may change; () records all.
    """
    names = distributions(folder)
    if locked:
        names = [name for name in names if normal(name.partition("-")[0]) in locked]
    where = str(folder.resolve())
    return {"distributions": names, "inode": folder.stat().st_ino, "path": where}


def normal(name: str) -> str:
    """Return the normalized name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def stamp(env: str) -> dict[str, Any]:
    """Return the content of .stamp; {} if there is none."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(paths.stamp(env).read_bytes())
        if isinstance(content, dict):
            return content
    return {}


class EditedFiles(str):
    """Why an environment is not what was built: files of its packages were changed.

    A build that keeps its folder has to install these packages again.
    """

    __slots__ = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> EditedFiles:
        """Return the reason for these files; it is empty, and so false, for none."""
        shown = listed(names, SHOWN, " ")
        return cls(f"its files were changed by hand: {shown}" if names else "")


def flaw(env: str) -> str:
    """Return why an environment is not what was built; "" if it is, or if there is none.

    For old stamps, which record no inode, path or distributions, only the Python is checked.
    """
    build, folder = stamp(env), paths.env_dir(env)
    if not build:
        return _marked(folder / ".broken")
    python = folder / "bin" / "python"
    if not os.access(python, os.X_OK):
        target = python.readlink() if python.is_symlink() else python
        return f"its Python, {target}, is gone"
    if "inode" not in build:
        return ""
    # A moved directory keeps its inode, a restored one its path; a copy keeps neither.
    if build["inode"] != folder.stat().st_ino and build["path"] != str(folder.resolve()):
        return f"it was copied from {build['path']}"
    if why := changed(build["distributions"], distributions(folder), env == paths.MAIN):
        return why
    if dangling := link_mode.broken(folder, env == paths.MAIN):
        return f"its files were links into uv's cache, which are gone: {listed(dangling)}"
    return ""


def edited(env: str) -> EditedFiles:
    """Return a text that names files changed since the environment was built; "" if none was.

    Runs before a server or a task starts. Of the files in the wheels' RECORDs, it reads only those
    that are newer than the stamp's time or have another size: 0.3 s for 34,000 files. It misses a
    changed file whose modification time was set back; `bin/venv check` reads every file. Skips the
    distributions of .venv that the stamp does not list, because benchy did not install them.
    """
    build, folder = stamp(env), paths.env_dir(env)
    if not build.get("when"):
        return EditedFiles()
    built = calendar.timegm(time.strptime(build["when"], "%Y-%m-%dT%H:%M:%SZ"))
    names = build.get("distributions")
    changed_files: list[str] = []
    for record in sorted((folder / "lib").glob("python3*/site-packages/*.dist-info/RECORD")):
        site = str(record.parent.parent)
        if names is not None and record.parent.name.removesuffix(".dist-info") not in names:
            continue
        try:
            rows = recorded_files(record)
        except (OSError, ValueError, csv.Error):
            changed_files.append(f"{record.parent.name}/{record.name}")
            continue
        for name, recorded, size in rows:
            try:
                about = os.stat(f"{site}/{name}")  # noqa: PTH116 - pathlib doubles the time
            except OSError:
                changed_files.append(name)
                continue
            if about.st_mtime <= built and size in (None, about.st_size):
                continue
            if not as_recorded(Path(site, name), recorded):
                changed_files.append(name)
    return EditedFiles.of(changed_files)


def recorded_files(record: Path) -> list[tuple[str, str, int | None]]:
    """Return the files of a wheel's RECORD: (path below site-packages, hash, size in bytes).

    Leaves out byte code, which compiling overwrites even if it is from a wheel (numpy 2.4), and
    .pem files, because machines add their own certificates to certifi's bundle. Raises OSError,
    ValueError or csv.Error if RECORD is damaged.
    """
    with record.open(encoding="utf-8", newline="") as file:
        return [
            (row[0], row[1], int(row[2]) if row[2] else None)
            for row in csv.reader(file)
            if len(row) == 3 and row[1] and not row[0].endswith((".pyc", ".pem"))
        ]


def as_recorded(path: Path, recorded: str) -> bool:
    """Return whether a file has the hash that a RECORD has for it, METHOD=BASE64.

    True if Python does not know the method. Raises OSError.
    """
    method, _, expected = recorded.partition("=")
    if method not in hashlib.algorithms_guaranteed:
        return True
    digest = hashlib.new(method)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=") == expected


def changed(then: Collection[str], now: Collection[str], others: bool = False) -> str:
    """Return a text that says how two lists of distributions differ; "" if they do not.

    others: ignore distributions that are only in `now`.
    """
    removed = sorted(set(then) - set(now))
    added = [] if others else sorted(set(now) - set(then))
    words = [*(f"-{name}" for name in removed), *(f"+{name}" for name in added)]
    if not words:
        return ""
    return f"its packages were changed by hand: {listed(words, SHOWN, ' ')}"


def intact(env: str) -> bool:
    """Return whether an environment is built and `flaw` finds nothing."""
    return paths.stamp(env).exists() and not flaw(env)


def condemn(env: str, check: Callable[[str], str]) -> str:
    """Remove an environment's stamp if it is not what was built, so that the next make rebuilds it.

    Waits while another process builds it.

    Args:
        env: The environment.
        check: Such as `flaw`: returns why it is not what was built; "" if it is. It is called again
            under the builder's lock, because an environment that is being replaced looks broken.

    Returns:
        Why the environment is broken, also if another process found that; "" if it is not.
    """
    if paths.stamp(env).exists() and check(env):
        with usage_locks.held(env):
            if paths.stamp(env).exists() and (why := check(env)):
                mark(env, why)
                return why
    return "" if paths.stamp(env).exists() else flaw(env)


def mark(env: str, why: str) -> None:
    """Replace an environment's stamp with the reason; the caller holds the builder's lock."""
    say("BROKEN", f"{env}: {why}")
    text = json.dumps({"why": why, "edited": isinstance(why, EditedFiles)}) + "\n"
    files.replace(paths.env_dir(env) / ".broken", text)
    paths.stamp(env).unlink(missing_ok=True)


def _marked(path: Path) -> str:
    """Return the reason that `mark` wrote; "" if there is none."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        content = json.loads(text)
        return EditedFiles(content["why"]) if content["edited"] else str(content["why"])
    # Older benchy wrote only the reason. Installing again does no harm if no file was edited.
    return EditedFiles(text)


def built() -> list[str]:
    """Return the environments that have a stamp, sorted."""
    names = [path.parent.name for path in paths.VENVS.glob("[!.]*/.stamp")]
    return sorted([*names, *([paths.MAIN] if paths.stamp(paths.MAIN).exists() else [])])


def lock_sha256(env: str) -> str | None:
    """Return the digest of the lock that an environment was built from; None without a lock.

    Reads the copy inside the environment, else venvs/<env>.lock.
    """
    inside = lock_file.digest(paths.env_dir(env) / "lock")
    return inside or lock_file.digest(paths.lock(env)) or None


def packages(env: str) -> dict[str, str]:
    """Return name → release or URL of each package in the lock of a built environment."""
    inside = paths.env_dir(env) / "lock"
    lock = inside if inside.exists() else paths.lock(env)
    return {package.name: package.version for package in lock_file.packages(lock)}

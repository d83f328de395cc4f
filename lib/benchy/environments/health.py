"""Is an environment still what its stamp says? The cheap questions, asked before every use.

    bin/health        takes away the stamps of those that are not, so that Make builds them anew

Reads venvs/*/.stamp and looks at each environment's directory: some 0.3 ms for one, no process
started (bin/venv check asks uv as well). Writes venvs/<env>/.broken with the reason, in place of
the stamp. Imports little: `make venvs` runs it every time.
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
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from benchy.core import paths
from benchy.display.messages import say
from benchy.environments import link_mode, lock_file

EDITED = "its files were changed by hand"  # how the words of `edited` begin
SHOWN = 3  # distributions that a reason names


def distributions(folder: Path) -> list[str]:
    """What is installed, as the names of its .dist-info directories without that ending, sorted."""
    found = []
    for place in (folder / "lib").glob("python3*/site-packages"):
        found += [name[:-10] for name in os.listdir(place) if name.endswith(".dist-info")]  # noqa: PTH208
    return sorted(found)


def seal(folder: Path, locked: Collection[str] = ()) -> dict[str, Any]:
    """What a stamp keeps of a directory for `flaw` to compare. locked: normalized names to which
    the distributions are limited, where others may come and go; () for all."""
    names = distributions(folder)
    if locked:
        names = [name for name in names if normal(name.partition("-")[0]) in locked]
    where = str(folder.resolve())
    return {"distributions": names, "inode": folder.stat().st_ino, "path": where}


def normal(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def stamp(env: str) -> dict[str, Any]:
    """What .stamp says, {} if there is none."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(paths.stamp(env).read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def flaw(env: str) -> str:
    """Why an environment is not what was built; "" if it is, or if there is none.

    A stamp of before seals were kept is asked for its Python alone.
    """
    said, folder = stamp(env), paths.env_dir(env)
    if not said:
        with contextlib.suppress(OSError):
            return (folder / ".broken").read_text(encoding="utf-8").strip()
        return ""
    python = folder / "bin" / "python"
    if not os.access(python, os.X_OK):
        target = python.readlink() if python.is_symlink() else python
        return f"its Python, {target}, is gone"
    if "inode" not in said:
        return ""
    # A directory that was moved keeps its inode, and one that was restored its path.
    if said["inode"] != folder.stat().st_ino and said["path"] != str(folder.resolve()):
        return f"it was copied from {said['path']}"
    if why := changed(said["distributions"], distributions(folder), env == paths.MAIN):
        return why
    if gone := link_mode.broken(folder, env == paths.MAIN):
        return f"its files were links into uv's cache, and are gone: {listed(gone)}"
    return ""


def edited(env: str) -> str:
    """Which files were changed since the environment was built, in words; "" if none was.

    Of the files that its wheels name those are read that are younger than its stamp says it is, or
    of another size: 0.3 s for 34,000 files, so this is asked before a server or a task starts. A
    file whose age was set back by hand is not found; `bin/venv check` reads them all. Bundles of
    certificates are not looked at: machines add their own to certifi's.
    """
    said, folder = stamp(env), paths.env_dir(env)
    if not said.get("when"):
        return ""
    built = calendar.timegm(time.strptime(said["when"], "%Y-%m-%dT%H:%M:%SZ"))
    found: list[str] = []
    for record in sorted((folder / "lib").glob("python3*/site-packages/*.dist-info/RECORD")):
        site = str(record.parent.parent)
        with record.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == 3 and row[1]]
        for name, recorded, size in rows:
            if name.endswith((".pyc", ".pem")):
                continue
            try:
                about = os.stat(f"{site}/{name}")  # noqa: PTH116 - pathlib doubles the time
            except OSError:
                found.append(name)
                continue
            if about.st_mtime <= built and (not size or about.st_size == int(size)):
                continue
            if not _as_recorded(Path(site, name), recorded):
                found.append(name)
    return f"{EDITED}: {listed(found)}" if found else ""


def _as_recorded(path: Path, recorded: str) -> bool:
    method, _, expected = recorded.partition("=")
    if method not in hashlib.algorithms_guaranteed:
        return True
    digest = hashlib.new(method)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=") == expected


def listed(words: Sequence[str]) -> str:
    """Some of the words, and how many more there are."""
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return " ".join(words[:SHOWN]) + more


def changed(then: Collection[str], now: Collection[str], others: bool = False) -> str:
    """What differs between two lists of distributions, in words; "" if nothing does.

    others: more may be there now.
    """
    gone = sorted(set(then) - set(now))
    more = [] if others else sorted(set(now) - set(then))
    words = [*(f"-{name}" for name in gone), *(f"+{name}" for name in more)]
    if not words:
        return ""
    return f"its packages were changed by hand: {listed(words)}"


def well(env: str) -> bool:
    """Built, and nothing wrong at first sight."""
    return paths.stamp(env).exists() and not flaw(env)


def condemn(env: str, why: str) -> None:
    """Take the stamp away, keeping the reason: the next make builds the environment anew."""
    say("BROKEN", f"{env}: {why}")
    (paths.env_dir(env) / ".broken").write_text(why + "\n", encoding="utf-8")
    paths.stamp(env).unlink(missing_ok=True)


def built() -> list[str]:
    """The environments that have a stamp."""
    names = [path.parent.name for path in paths.VENVS.glob("[!.]*/.stamp")]
    return sorted([*names, *([paths.MAIN] if paths.stamp(paths.MAIN).exists() else [])])


def lock_sha256(env: str) -> str | None:
    """Of the lock that an environment was built from: the copy inside it, else venvs/<env>.lock."""
    inside = lock_file.digest(paths.env_dir(env) / "lock")
    return inside or lock_file.digest(paths.lock(env)) or None


def packages(env: str) -> dict[str, str]:
    """Name → release (or URL) of each package of the lock that an environment was built from."""
    inside = paths.env_dir(env) / "lock"
    lock = inside if inside.exists() else paths.lock(env)
    return {package.name: package.version for package in lock_file.packages(lock)}

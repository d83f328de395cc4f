"""Read uv's pylock.toml (PEP 751): versions, sizes and upload times of packages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from benchy.core import toml

Table = dict[str, Any]


def packages(text: str) -> list[Table]:
    """Return the packages of a pylock.toml; [] if uv resolved nothing, so that it has no lock."""
    try:
        return list(toml.loads(text).get("packages", []))
    except ValueError:
        return []


def first_version(text: str) -> str | None:
    """Return the version of the first package; None if there is none."""
    return next((package.get("version") for package in packages(text)), None)


def upload_times(text: str) -> list[datetime]:
    """Return the upload time of every file that has one."""
    times = (file.get("upload-time") for package in packages(text) for file in _files(package))
    return [time for time in times if isinstance(time, datetime)]


def sizes(text: str) -> dict[str, int]:
    """Return name → bytes of the largest wheel of each package.

    For a package without wheels, it is the size of its archive or source distribution. Packages
    with neither a size nor a local file are left out.
    """
    largest: dict[str, int] = {}
    for package in packages(text):
        wheels = package.get("wheels", [])
        known = [file["size"] for file in wheels or _files(package) if "size" in file]
        known = known or [path.stat().st_size for path in map(_local, wheels) if path.is_file()]
        if known:
            largest[package["name"]] = max(known)
    return largest


def _files(package: Table) -> Iterator[Table]:
    """Yield the wheels, the archive (a wheel by URL) and the source distribution of a package."""
    yield from package.get("wheels", [])
    yield from (package[key] for key in ("archive", "sdist") if key in package)


def _local(file: Table) -> Path:
    """Return the path of a file on this machine; a path that is no file for one elsewhere."""
    url = urlsplit(file.get("path") or file.get("url", ""))
    return Path(unquote(url.path)) if url.scheme in ("", "file") else Path()

"""Find Python interpreters for environments: installed ones, and ones that uv can download.

Queries uv. Writes only the log and what `uv python install` writes.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from benchy.core.errors import UsageError
from benchy.environments import uv

DOWNLOADABLE = ("3.12", "3.11", "3.13", "3.10", "3.14", "3.9")  # most likely to fit, first


def pythons(requested: str | None, log: Path) -> Iterator[tuple[str, str]]:
    """Yield (version, interpreter path), best first, one per minor release.

    The order is: the running Python (the machine's wheels fit it), installed ones from the newest,
    then those that uv can download. requested: a specifier (">=3.9,<3.13"), a release ("3.11") or
    None. Raises UsageError if `requested` is neither.
    """
    try:
        plain_release = requested and requested[0] not in "<>=!~"
        fits = SpecifierSet(f"=={requested}.*" if plain_release else requested or "")
    except InvalidSpecifier:
        raise UsageError(
            f"{requested!r} is not a Python release", "use 3.11 or >=3.9,<3.13"
        ) from None
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix) / "bin" / f"python{own}"
    running = ".".join(map(str, sys.version_info[:3]))
    if base.exists() and fits.contains(running, prereleases=True):
        yield running, str(base)  # before querying uv for others, which takes half a second
    installed: dict[str, tuple[str, str]] = {}
    done = uv.run(["python", "list", "--only-installed", "--output-format", "json"], log)
    for item in json.loads(done.stdout or "[]"):
        with contextlib.suppress(InvalidVersion):
            version = Version(item["version"])
            plain = item["implementation"] == "cpython" and item["variant"] == "default"
            if plain and version >= Version("3.8") and not version.is_prerelease:
                minor = f"{version.major}.{version.minor}"
                installed.setdefault(minor, (item["version"], item["path"]))
    for minor in sorted(installed, key=Version, reverse=True):
        if fits.contains(installed[minor][0], prereleases=True) and not (
            minor == own and base.exists()
        ):
            yield installed[minor]
    for minor in DOWNLOADABLE:
        if minor in installed or uv.offline() or not fits.contains(f"{minor}.99"):
            continue
        installing = uv.run(["python", "install", minor], log, f"Python {minor}")
        if installing.offline:
            return
        if installing.status == 0:
            path = uv.run(["python", "find", minor], log).stdout.strip()
            if path:
                yield minor, path

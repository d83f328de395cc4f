"""How much disk an environment will take, asked of uv and the index before anything is downloaded.

Reads uv's plan (what is not in its cache yet) and the sizes of wheels that the index tells (PEP
700). Writes nothing but venvs/.copied, the note that it was said that wheels can't be shared.

A wheel's unpacked size is told nowhere, so it is estimated from the compressed one. Measured on
what `du` says of six built environments (vLLM 0.6.6.post1, 0.8.0, 0.10.2, 0.13.0, 0.25.1 for GPUs,
0.32.0 for CPUs; byte code included), these factors are 9 % low to 6 % high.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchy.core import paths, temporary_files
from benchy.core.errors import Failure
from benchy.display.messages import say
from benchy.environments import uv
from benchy.process import logged_program

UNPACKED = 3.7  # times the compressed size: Python and libraries for the CPU, with byte code
UNPACKED_CUDA = 1.7  # times: NVIDIA's libraries and a torch that uses them
FULL = 64 << 10  # bytes; with less a file system has no room for a line
PLENTY = 30 * 10**9  # bytes: well over two of the largest environments that were seen
BYTE_CODE = 0.5  # times: what of UNPACKED is byte code, which is never shared
UNCACHED = re.compile(r"Identified uncached distribution: (\S+?)(?:==| @ )")
COPIED = paths.VENVS / ".copied"


@dataclass(frozen=True)
class Need:
    """Bytes that are needed where environments lie, and in uv's cache if that is another file
    system (else 0: one copy serves both)."""

    here: int
    there: int
    cache: Path = Path()


def sizes(pylock: str) -> dict[str, int]:
    """Name → bytes of the wheel, from a pylock.toml as uv writes it; of several the largest. What
    has no size there and is no file here is left out."""
    found: dict[str, int] = {}
    for package in pylock.split("[[packages]]")[1:]:
        name = re.search(r'^name = "([^"]+)"', package, re.M)
        # A list for wheels; an archive (a wheel by URL) and an sdist are tables of their own.
        _, _, wheels = package.partition("wheels = ")
        told = [int(size) for size in re.findall(r"\bsize = (\d+)", wheels or package)]
        for url in re.findall(r'\b(?:url|path) = "([^"]+)"', wheels) if not told else ():
            path = Path(unquote(urlsplit(url).path))
            if urlsplit(url).scheme in ("", "file") and path.is_file():
                told.append(path.stat().st_size)
        if name and told:
            found[name[1]] = max(told)
    return found


def estimate(wheels: dict[str, int], uncached: set[str], linked: bool) -> Need:
    """What an environment of these wheels (name → compressed bytes) will take."""
    cuda = any(name.startswith("nvidia-") for name in wheels)

    def unpacked(name: str, size: int) -> float:
        heavy = name.startswith("nvidia-") or (cuda and name == "torch")
        return size * (UNPACKED_CUDA if heavy else UNPACKED)

    fresh = {name: size for name, size in wheels.items() if name in uncached}
    whole = sum(unpacked(name, size) for name, size in wheels.items())
    new = sum(unpacked(name, size) for name, size in fresh.items())
    code = sum(BYTE_CODE * size for name, size in wheels.items() if name not in fresh)
    return Need(int(new + code), 0) if linked else Need(int(whole), int(new))


def linkable(cache: Path, folder: Path) -> bool:
    """Whether files of uv's cache can have a second name in folder: one file system."""
    return existing(cache).stat().st_dev == folder.stat().st_dev


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def full(path: Path) -> tuple[str, str] | None:
    """Of the disk that a log is on, which then tells nothing: what is wrong, and what to do; None
    where there is room."""
    if shutil.disk_usage(existing(path)).free >= FULL:
        return None
    return f"the disk is full: {path.parent}", f"free some space (df -h {path.parent}), then again"


def ask(
    run: Callable[..., logged_program.Done],
    lock: Path,
    installing: Sequence[str],
    python: Path,
    options: Sequence[str],
) -> Need | None:
    """What it takes to install a lock; None where uv can't tell, where all is cached and linked,
    or where there is so much room that it need not be known (asking takes 0.6 s).

    run: uv.run as it will install; installing: its words after `uv pip`; options: those of them
    that say how the lock was made.
    """
    with temporary_files.folder("disk") as folder:
        log = folder / "log"  # uv's debugging talk is too much for the environment's own log
        cache = Path(uv.run(["cache", "dir"], log).stdout.strip())
        if all(shutil.disk_usage(existing(p)).free > PLENTY for p in (paths.VENVS, cache)):
            return None
        plan = run(uv.pip([*installing, "--dry-run", "--verbose"]), log)
        if plan.status:
            return None
        uncached = {m[1] for line in plan.talk if (m := UNCACHED.search(line))}
        copied = uv.variables().get("UV_LINK_MODE") == "copy"
        linked = linkable(cache, paths.VENVS) and not copied
        if linked and not uncached:
            return None
        whence = [word for word in options if word != "--require-hashes"]
        asking = ["compile", str(lock), "--no-deps", "--python", str(python), *whence]
        done = run(uv.pip([*asking, "--format", "pylock.toml", "--no-header"]), log)
        if done.status:
            return None
        return replace(estimate(sizes(done.stdout), uncached, linked), cache=cache)


def check(env: str, need: Need | None, log: Path) -> None:
    """Raises Failure if there is less room than needed."""
    if need is None:
        return
    there = (need.there, need.cache, f" in uv's cache, {need.cache}")
    for size, place, where in ((need.here, paths.VENVS, ""), there):
        free = shutil.disk_usage(existing(place)).free
        if size > free:
            raise Failure(
                f"{env} needs about {gigabytes(size)}{where}, and {gigabytes(free)} are free",
                f"free some space (make prune-venvs, {uv.word()} cache prune), then run it again",
                log,
                page=32,
            )


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def tell_copied(talk: Sequence[str]) -> None:
    """Say, once for all environments, that uv could not link from its cache. talk: what uv said."""
    if COPIED.exists() or not any("Failed to hardlink files" in line for line in talk):
        return
    say("NOTE", "wheels are copied, not linked: each environment takes its full size on the disk")
    say("", "UV_CACHE_DIR on the file system of venvs/ lets them be shared (said only once)")
    COPIED.touch()

"""Estimate the disk space that an environment needs, before anything is downloaded.

Reads uv's plan (which wheels are not in its cache) and the sizes of wheels from the index (PEP
700). Writes only venvs/.copied, which records that the note about copied wheels was printed.

No index reports the unpacked size of a wheel, so it is estimated from the compressed size.
Compared with `du` of six built environments (vLLM 0.6.6.post1, 0.8.0, 0.10.2, 0.13.0, 0.25.1 for
GPUs, 0.32.0 for CPUs; with byte code), the estimates are between 9 % too low and 6 % too high.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchy.core import paths, temporary_files
from benchy.core.errors import Failure
from benchy.display.messages import say
from benchy.environments import pylock, uv
from benchy.process import logged_program

UNPACKED = 3.7  # times the compressed size: Python and CPU libraries, with byte code
UNPACKED_CUDA = 1.7  # times the compressed size: NVIDIA's libraries and a torch that uses them
FULL = 64 << 10  # bytes; with less free, a file system is full
PLENTY = 30 * 10**9  # bytes; well over twice the largest environment measured
BYTE_CODE = 0.5  # times the compressed size: byte code within UNPACKED, never shared
UNCACHED = re.compile(r"Identified uncached distribution: (\S+?)(?:==| @ )")
COPIED = paths.VENVS / ".copied"


@dataclass(frozen=True)
class Need:
    """Disk space that an environment needs.

    in_venvs: bytes in venvs/. in_cache: bytes in uv's cache; 0 if files are linked, because one
    copy serves both. cache: the path of uv's cache.
    """

    in_venvs: int
    in_cache: int
    cache: Path = Path()


def estimate(wheels: dict[str, int], uncached: set[str], linked: bool) -> Need:
    """Return the disk space that an environment of these wheels needs.

    wheels: name → compressed bytes; uncached: names that uv's cache lacks; linked: whether uv links
    files from its cache.
    """
    cuda = any(name.startswith("nvidia-") for name in wheels)

    def unpacked(name: str, size: int) -> float:
        heavy = name.startswith("nvidia-") or (cuda and name == "torch")
        return size * (UNPACKED_CUDA if heavy else UNPACKED)

    fresh = {name: size for name, size in wheels.items() if name in uncached}
    installed = sum(unpacked(name, size) for name, size in wheels.items())
    new = sum(unpacked(name, size) for name, size in fresh.items())
    code = sum(BYTE_CODE * size for name, size in wheels.items() if name not in fresh)
    return Need(int(new + code), 0) if linked else Need(int(installed), int(new))


def linkable(cache: Path, folder: Path) -> bool:
    """Return whether uv's cache and an existing folder are on one file system, for hard links."""
    return existing(cache).stat().st_dev == folder.stat().st_dev


def existing(path: Path) -> Path:
    """Return the path itself if it exists, else its nearest existing parent."""
    return next(
        candidate for candidate in (path.absolute(), *path.absolute().parents) if candidate.exists()
    )


def full(path: Path) -> tuple[str, str] | None:
    """Return (error, hint) if the disk of a log is full, else None.

    A full disk leaves no explanation in the log itself.
    """
    if shutil.disk_usage(existing(path)).free >= FULL:
        return None
    return (
        f"the disk is full: {path.parent}",
        f"free some space (df -h {path.parent}), then run it again",
    )


def ask(
    run: Callable[..., logged_program.Done],
    lock: Path,
    installing: Sequence[str],
    python: Path,
    options: Sequence[str],
) -> Need | None:
    """Query uv for the disk space that installing a lock needs, which takes 0.6 s.

    Args:
        run: `uv.run` with the settings of the installation.
        lock: The lock to install.
        installing: The arguments of the installation, after `uv pip`.
        python: The interpreter to install for.
        options: Those of the arguments that say how the lock was made.

    Returns:
        The disk space, or None if no check is needed: uv cannot report it, all wheels are cached
        and linked, or more than PLENTY bytes are free.
    """
    with temporary_files.folder("disk") as folder:
        log = folder / "log"  # uv's debug output is too long for the environment's own log
        cache = Path(uv.run(["cache", "dir"], log).stdout.strip())
        if all(shutil.disk_usage(existing(p)).free > PLENTY for p in (paths.VENVS, cache)):
            return None
        plan = run(uv.pip([*installing, "--dry-run", "--verbose"]), log)
        if plan.status:
            return None
        uncached = {m[1] for line in plan.stderr if (m := UNCACHED.search(line))}
        copied = uv.variables().get("UV_LINK_MODE") == "copy"
        linked = linkable(cache, paths.VENVS) and not copied
        if linked and not uncached:
            return None
        lock_options = [word for word in options if word != "--require-hashes"]
        arguments = ["compile", str(lock), "--no-deps", "--python", str(python), *lock_options]
        done = run(uv.pip([*arguments, "--format", "pylock.toml", "--no-header"]), log)
        if done.status:
            return None
        return replace(estimate(pylock.sizes(done.stdout), uncached, linked), cache=cache)


def check(env: str, need: Need | None, log: Path) -> None:
    """Raise Failure if less disk space is free than needed."""
    if need is None:
        return
    cache_need = (need.in_cache, need.cache, f" in uv's cache, {need.cache}")
    for size, place, where in ((need.in_venvs, paths.VENVS, ""), cache_need):
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


def report_copies(lines: Sequence[str]) -> None:
    """Print a note if uv could not link files from its cache, once for all environments.

    lines: uv's output.
    """
    if COPIED.exists() or not any("Failed to hardlink files" in line for line in lines):
        return
    say(
        "NOTE", "wheels are copied, not linked, so each environment takes its full size on the disk"
    )
    say("", "set UV_CACHE_DIR to a folder on the file system of venvs/ to share them (shown once)")
    COPIED.touch()

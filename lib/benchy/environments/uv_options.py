"""Options of uv for the cutoff of an environment and for installing from its lock.

Reads the machine's uv and pip settings; writes nothing.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from benchy.environments import release_date, uv


def install_options(header: dict[str, Any]) -> list[str]:
    """Return the options to install from a lock with this header.

    They are those it was resolved with, so that uv sees the same files.
    """
    hashes = ["--require-hashes"] if header.get("hashes") else []
    given = [str(option) for option in header.get("options", [])]
    return [*hashes, *given, *until(header.get("cutoff"))]


def until(cutoff: str | None) -> list[str]:
    """Return uv's option for the earlier of this cutoff and the machine's; [] for none."""
    use = release_date.earlier(cutoff, machine_cutoff(), datetime.now(timezone.utc))
    return ["--exclude-newer", use] if use else []


def machine_cutoff() -> str | None:
    """Return the cutoff of the machine's settings: from UV_EXCLUDE_NEWER, uv.toml or pip."""
    return uv.variables().get("UV_EXCLUDE_NEWER") or None


def holding(cutoff: str | None) -> str | None:
    """Return the machine's cutoff, as written, if it is earlier than that of a lock; else None."""
    machine = machine_cutoff()
    use = release_date.earlier(cutoff, machine, datetime.now(timezone.utc))
    return machine if use != cutoff else None

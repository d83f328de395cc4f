"""Options of uv for the cutoff of an environment and for installing from its lock."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from benchy.environments import release_date, uv


def install_options(said: dict[str, Any]) -> list[str]:
    """How to install from a lock with this header: as it was resolved, so that the same files are
    seen."""
    hashes = ["--require-hashes"] if said.get("hashes") else []
    given = [str(option) for option in said.get("options", [])]
    return [*hashes, *given, *until(said.get("cutoff"))]


def until(cutoff: str | None) -> list[str]:
    """The cutoff as uv's option, the machine's own being obeyed."""
    use = release_date.earlier(cutoff, machine_cutoff(), datetime.now(timezone.utc))
    return ["--exclude-newer", use] if use else []


def machine_cutoff() -> str | None:
    """The cutoff that the machine's settings name: UV_EXCLUDE_NEWER, uv.toml's, pip's."""
    return uv.variables().get("UV_EXCLUDE_NEWER") or None


def holding(cutoff: str | None) -> str | None:
    """The machine's cutoff, as it is written there, if it is earlier than a lock's own."""
    machine = machine_cutoff()
    use = release_date.earlier(cutoff, machine, datetime.now(timezone.utc))
    return machine if use != cutoff else None

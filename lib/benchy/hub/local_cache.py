"""Where the hub's client keeps downloaded models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchy.core import paths


def hub_cache(hf_cache: str | None, env: Mapping[str, str]) -> Path:
    """Where the hub's client keeps files. hf_cache: what the configuration says of it."""
    home = Path(env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    return paths.home(hf_cache or env.get("HF_HUB_CACHE") or home / "hub")


def folder_name(name: str) -> str:
    """A model's folder in the hub's cache."""
    return f"models--{name.replace('/', '--')}"

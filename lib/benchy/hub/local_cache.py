"""Locate the models that the hub's client downloaded. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchy.core import paths


def hub_cache(hf_cache: str | None, env: Mapping[str, str]) -> Path:
    """Return the cache folder of the hub's client. hf_cache: the configuration's value."""
    home = Path(env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    return paths.home(hf_cache or env.get("HF_HUB_CACHE") or home / "hub")


def folder_name(name: str) -> str:
    """Return the name of a model's folder in the hub's cache."""
    return f"models--{name.replace('/', '--')}"

"""bin/tiny-model: make the tiny model for tests and the quickstart."""

from __future__ import annotations

from benchy.scripts.tiny_model import main

__all__ = ["main"]

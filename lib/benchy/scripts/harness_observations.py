"""The file of facts that the wrapper observes. harness_wrapper.py has its format."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any


class FactsFile:
    """The file of facts; each fact is written once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen: set[str] = set()
        # Tasks that an interrupted run accepted although it truncated some of their prompts.
        self.accepted: set[str] = set()
        lines = Path(path).read_text("ascii", "replace") if Path(path).exists() else ""
        for line in lines.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a half-written last line
                fact = json.loads(line)
                if fact["kind"] == "truncated":
                    self.accepted.add(fact["task"])

    def new(self, *key: Any) -> bool:
        """Return whether this key is seen for the first time."""
        text = json.dumps(key, sort_keys=True, default=str)
        if text in self.seen:
            return False
        self.seen.add(text)
        return True

    def write(self, **fact: Any) -> None:
        if self.new(fact):
            with Path(self.path).open("a", encoding="ascii") as file:
                file.write(json.dumps(fact, sort_keys=True, default=str) + "\n")

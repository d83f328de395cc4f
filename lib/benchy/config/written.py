"""Where the options of a model were written, for error messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchy.core.errors import Mistake


@dataclass(frozen=True)
class Written:
    """Where options were written.

    Attributes:
        source: The file to name for options that are not in `origin`.
        origin: Option → "file:line".
        keys: Option → dotted key, for options whose key is not their name.
    """

    source: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    def mistake(self, option: str, what: str, hint: str) -> Mistake:
        file, _, line = self.origin.get(option, "").rpartition(":")
        place = (file, int(line)) if line.isdecimal() else (self.source, 0)
        return Mistake(*place, self.keys.get(option, option), what, hint)

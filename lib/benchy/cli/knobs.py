"""bin/knobs: check the knobs and goals of a make command line."""

from __future__ import annotations

import os

from benchy.core.errors import ConfigError
from benchy.plan import selection


def main(argv: list[str]) -> int:
    """bin/knobs [TARGET]: BENCHY_GIVEN, BENCHY_GOALS and BENCHY_UNKNOWN are words of make's command
    line, BENCHY_KNOWN are its goals. Raises ConfigError."""
    if argv:
        raise selection.no_target(argv[0])

    def words(name: str) -> list[str]:
        return os.environ.get(name, "").split()

    found = selection.no_goals(words("BENCHY_UNKNOWN"), words("BENCHY_KNOWN"))
    if found or (found := selection.mistakes(words("BENCHY_GIVEN"), words("BENCHY_GOALS"))):
        raise ConfigError(found)
    return 0

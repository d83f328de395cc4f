"""bin/knobs: check the knobs and goals of a make command line."""

from __future__ import annotations

import argparse
import os

from benchy.core.errors import ConfigError
from benchy.plan import selection


def main(argv: list[str]) -> int:
    """Run `bin/knobs [TARGET]`. Raise ConfigError with the mistakes of make's command line.

    Its words are in BENCHY_GIVEN (knobs), BENCHY_GOALS and BENCHY_UNKNOWN; make's goals are in
    BENCHY_KNOWN. TARGET is a file below results/ or venvs/ that no config requests.
    """
    parser = argparse.ArgumentParser(
        prog="bin/knobs",
        description="Check the knobs and goals of a make command line. The makefiles call this.",
    )
    parser.add_argument("target", nargs="?", help="a file in results/ or venvs/ without a rule")
    target = parser.parse_args(argv).target
    if target is not None:
        raise selection.no_target(target)

    def words(name: str) -> list[str]:
        return os.environ.get(name, "").split()

    mistakes = selection.no_goals(words("BENCHY_UNKNOWN"), words("BENCHY_KNOWN"))
    if mistakes or (mistakes := selection.mistakes(words("BENCHY_GIVEN"), words("BENCHY_GOALS"))):
        raise ConfigError(mistakes)
    return 0

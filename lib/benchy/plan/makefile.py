"""Writes makefile syntax, for build/rules.mk: explicit rules, one for each file that benchy builds.

All names in it are validated (names.NAME), so nothing is escaped here; anything else is in the spec
files. Modeled on Ninja's ninja_syntax: a handful of methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO


class Writer:
    """Collects the text of a makefile."""

    def __init__(self) -> None:
        self.out = StringIO()

    def comment(self, text: str) -> None:
        for line in text.splitlines():
            self.out.write(f"# {line}".rstrip() + "\n")

    def blank(self) -> None:
        self.out.write("\n")

    def variable(self, name: str, values: Iterable[str]) -> None:
        """Write `name := values` on one line. Appending model by model is quadratic in Make."""
        self.out.write(" ".join([name, ":=", *values]) + "\n")

    def phony(self, targets: Iterable[str]) -> None:
        self.out.write(" ".join([".PHONY:", *targets]) + "\n")

    def rule(
        self,
        target: str,
        inputs: Sequence[str] = (),
        recipe: tuple[str, str] | None = None,
        after: Sequence[str] = (),
        touch: bool = False,
    ) -> None:
        """Write one explicit rule.

        Args:
            recipe: (tag, command), shown as `TAG  target` and run as command.
            after: order-only prerequisites: built first, but no reason to rebuild.
            touch: touch the target afterwards, because the command may find nothing to do.
        """
        line = " ".join([f"{target}:", *inputs, *(["|", *after] if after else [])])
        self.out.write(line + "\n")
        if recipe:
            tag, command = recipe
            self.out.write(f"\t$(call run,{tag},{command})\n")
            if touch:
                self.out.write("\t@touch $@\n")

    def text(self) -> str:
        return self.out.getvalue()

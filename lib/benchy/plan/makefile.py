"""Writes build/rules.mk: a dumb file of explicit rules, one for each file that benchy builds.

All names that stand in it are validated (names.NAME), so nothing is escaped here; what is not a
validated name lies in the spec files. Ninja's ninja_syntax is the model: a handful of methods.
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
        """name := values. One line: appending model by model is quadratic in Make (FACTS)."""
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
        """One explicit rule. recipe: (tag, command), shown as `TAG  target` and run as command.

        after: built first, but no reason to rebuild.
        touch: the command may find nothing to do; the target is up to date all the same.
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

"""One release of an engine: the flags of its parser, and options as flags."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchy.config import reserved_options
from benchy.core.errors import Mistake

Flags = Mapping[str, Mapping[str, Any]]
MODALITIES = ("image", "audio", "video")
# --x and --no-x; since vLLM 0.33 --enable-x and --disable-x where the name begins so.
TWO_SIDED = ("BooleanOptionalAction", "EnableDisableAction")


@dataclass(frozen=True)
class Release:
    """One engine release: its name in messages ("vLLM 0.8.0"), its parser's flags, and of the
    engine's options that are gone those that matter here ({"option", "since", "back", "use",
    "why"}).
    came: the first release that is known to have an option, "" if none is."""

    name: str
    flags: Flags
    gone: Sequence[Mapping[str, Any]] = ()
    came: Callable[[str], str] = lambda option: ""

    def has(self, option: str) -> bool:
        """Does it have this option?"""
        return flag_of(option) in self.flags or self.negated(option)

    def negated(self, option: str) -> bool:
        """Is option the `no_` side of a flag that has two sides?"""
        positive = self.flags.get(flag_of(option.removeprefix("no_")), {})
        return option.startswith("no_") and positive.get("action") in TWO_SIDED


def read_flags(path: Path) -> dict[str, dict[str, Any]]:
    """An environment's flags.json. Raises OSError, ValueError."""
    flags: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return flags


def flag_of(option: str) -> str:
    """`max_model_len` → `--max-model-len`."""
    return "--" + option.replace("_", "-")


def option_of(flag: str) -> str:
    """`--max-model-len` → `max_model_len`."""
    return flag.removeprefix("--").replace("-", "_")


def swapped(option: str) -> str:
    """`enable_x` → `disable_x`, and back; "" for any other."""
    for one, other in (("enable_", "disable_"), ("disable_", "enable_")):
        if option.startswith(one):
            return other + option.removeprefix(one)
    return ""


def contrary(option: str, action: str) -> str:
    """The option of a flag with two sides that says the contrary."""
    if action == "EnableDisableAction" and (other := swapped(option)):
        return other
    return option.removeprefix("no_") if option.startswith("no_") else f"no_{option}"


@dataclass(frozen=True)
class Written:
    """Where options were written. source: the file that is named where `origin` does not know the
    option's own place, "file:line"; keys: the dotted key of an option, where it is another."""

    source: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    def mistake(self, option: str, what: str, hint: str) -> Mistake:
        file, _, line = self.origin.get(option, "").rpartition(":")
        place = (file, int(line)) if line.isdecimal() else (self.source, 0)
        return Mistake(*place, self.keys.get(option, option), what, hint)


class BadOption(Exception):
    """A value that the flag does not take: what is wrong, what to write instead."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


def own_options(flags: Iterable[str]) -> list[str]:
    """Every option that a release's flags give, for messages and completion."""
    return sorted({option_of(flag) for flag in flags} - set(reserved_options.OURS) - {"help"})

"""The flags of one engine release, and the conversion between options and flags.

Reads flags.json of an environment; writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchy.core.specs import GoneOption

Flags = Mapping[str, Mapping[str, Any]]
MODALITIES = ("image", "audio", "video")
# Actions of flags with a negation: --x and --no-x; since vLLM 0.33 also --enable-x and --disable-x.
TWO_SIDED = ("BooleanOptionalAction", "EnableDisableAction")


@dataclass(frozen=True)
class EngineRelease:
    """One engine release.

    Attributes:
        name: Its name in messages ("vLLM 0.8.0").
        flags: The flags of its parser.
        removed_options: The relevant removed options of the engine.
        added_in: Returns the first newer release that has an option; "" if none is known.
    """

    name: str
    flags: Flags
    removed_options: Sequence[GoneOption] = ()
    added_in: Callable[[str], str] = lambda option: ""

    def has(self, option: str) -> bool:
        """Return whether the release has an option, also as a negation."""
        return flag_of(option) in self.flags or self.negated(option)

    def negated(self, option: str) -> bool:
        """Return whether an option is the `no_` form of a flag with a negation."""
        positive = self.flags.get(flag_of(option.removeprefix("no_")), {})
        return option.startswith("no_") and positive.get("action") in TWO_SIDED


def read_flags(path: Path) -> dict[str, dict[str, Any]]:
    """Read an environment's flags.json. Raises OSError, ValueError."""
    flags: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(flags, dict):
        raise ValueError(f"{path} is not a JSON object")
    return flags


def flag_of(option: str) -> str:
    """Return the flag of an option: `max_model_len` → `--max-model-len`."""
    return "--" + option.replace("_", "-")


def option_of(flag: str) -> str:
    """Return the option of a flag: `--max-model-len` → `max_model_len`."""
    return flag.removeprefix("--").replace("-", "_")


def action_of(about: Mapping[str, Any]) -> str:
    """Return the name of a flag's action in the release's argument parser, without its module."""
    return str(about.get("action") or "").rpartition(".")[2]


def swapped(option: str) -> str:
    """Convert `enable_x` to `disable_x` and back; "" for other options."""
    for prefix, opposite in (("enable_", "disable_"), ("disable_", "enable_")):
        if option.startswith(prefix):
            return opposite + option.removeprefix(prefix)
    return ""


def contrary(option: str, action: str) -> str:
    """Return the negated option of a flag with a negation: `x` ↔ `no_x`, `enable_x` ↔ `disable_x`.

    action: the flag's action, which decides between the two forms.
    """
    if action == "EnableDisableAction" and (other := swapped(option)):
        return other
    return option.removeprefix("no_") if option.startswith("no_") else f"no_{option}"


class BadOption(Exception):
    """An option or value that a release does not accept: what is wrong, and a hint."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint

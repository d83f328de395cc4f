"""What a knob that is a switch may hold: 1, yes, true or on; 0, no, false or off; or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from benchy.errors import UsageError

ON = ("1", "yes", "true", "on")
OFF = ("", "0", "no", "false", "off")


def on(name: str, environ: Mapping[str, str] = os.environ, default: bool = False) -> bool:
    """Is this knob on? default: where it is empty or absent. Raises UsageError for another text."""
    text = environ.get(name, "").strip().lower()
    if text == "":
        return default
    if text not in ON and text not in OFF:
        raise UsageError(
            f"{environ[name]!r} is neither on nor off",
            f"write {name}=1 (or {', '.join(ON[1:])}) or {name}=0 (or {', '.join(OFF[2:])})",
            name,
        )
    return text in ON

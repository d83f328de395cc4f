"""The knobs that say which plan, models and tasks are meant; make exports them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from benchy import names
from benchy.errors import UsageError
from benchy.graph import Graph


def knob(name: str) -> list[str]:
    return os.environ.get(name, "").split()


def limit_directory() -> str:
    """The folder of a plan with LIMIT: its rules have other targets. Checked by bin/plan."""
    text = os.environ.get("LIMIT", "")
    return f"/limit-{text}" if re.fullmatch(r"[1-9][0-9]{0,8}", text) else ""


def graph_for(verb: str) -> Graph:
    if verb == "results":
        return Graph("build" + limit_directory())
    given = os.environ.get("CONFIG", "")
    if not given:
        raise UsageError("is missing", "write make eval CONFIG=configs/quickstart.yaml", "CONFIG")
    path = Path(os.environ.get("BENCHY_CWD", "."), given).absolute()
    if not names.good(path.stem):
        raise UsageError(
            f"{path.name!r} is a name that results can't be kept under",
            "rename the file: letters, digits and . _ + -",
            "CONFIG",
        )
    os.environ["CONFIG"] = str(path)
    return Graph(f"build/eval/{path.stem}" + limit_directory(), one=True)


def flags() -> str:
    """Make's single-letter flags that this was called under ("n" for make -n)."""
    first = os.environ.get("MAKEFLAGS", "").split(" ")[0]
    return "" if first.startswith("-") or "=" in first else first

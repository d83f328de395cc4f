"""The files and outputs that a page of docs/ shows."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def files(page: str) -> dict[str, str]:
    """Return path → text of each file that the page asks its reader to write."""
    blocks = re.findall(
        r"^`(configs/\S+)`:\n\n```\w+\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S
    )
    assert blocks, page
    return dict(blocks)


def outputs(page: str) -> list[str]:
    """Return the outputs (```text blocks) of the page, in order."""
    return re.findall(r"^```text\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)


def write(page: str, tree: Path) -> None:
    """Write the page's files below `tree`."""
    for name, text in files(page).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)

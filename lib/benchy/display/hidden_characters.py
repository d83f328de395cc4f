"""Characters that hide or reorder text, made visible.

A name or an answer with a bidirectional control can be shown as another than it is. The pages show
such characters by their number; templates/model.js does the same for samples.
"""

from __future__ import annotations

import re

# Controls but tab and line break, marks and embeddings of direction, line separators, the byte
# order mark, and tags, which no font shows. Joiners stay: scripts and emoji are written with them.
HIDDEN = re.compile(
    "[\0-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """The text with each such character as [U+202E]."""
    return HIDDEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def finalize(value: object) -> object:
    """For Jinja2: whatever a template prints, markup aside."""
    return visible(value) if type(value) is str else value

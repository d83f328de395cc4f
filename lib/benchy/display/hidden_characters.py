"""Makes characters visible that hide or reorder text.

A name or an answer with a bidirectional control character can look different from what it is. The
pages show the number of such a character instead. templates/model.js does the same for samples.
"""

from __future__ import annotations

import re

# Control characters except tab and line break, direction marks and embeddings, line separators, the
# byte order mark, and tags, which no font shows. Joiners stay, since scripts and emoji need them.
HIDDEN = re.compile(
    "[\0-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Return the text with each such character as [U+202E]."""
    return HIDDEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def finalize(value: object) -> object:
    """For Jinja2: make hidden characters visible in a value. Markup is left unchanged."""
    return visible(value) if type(value) is str else value

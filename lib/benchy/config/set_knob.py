"""Reads the knob SET="key=value …", the top layer of every model."""

from __future__ import annotations

import re
from functools import cache

from benchy.config import option_checks, yaml_file
from benchy.config.messages import hidden
from benchy.config.yaml_file import Document
from benchy.core.errors import UsageError


@cache
def document(text: str) -> Document:
    """Return SET as a document. Each value is read as YAML. Raise ConfigError."""
    lines: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if hint := option_checks.secret_hint(name):
            raise UsageError(f"{name} is a secret; knobs are written to files", hint, "SET")
        if not equals or not option_checks.is_name(name) or name in lines:
            what = f"{word!r} is not key=value, or is given twice"
            raise UsageError(what, "write SET='max_model_len=2048 enforce_eager=true'", "SET")
        quoted = name.endswith("version") and re.fullmatch(r"[\w.+!]+", value)
        written = f'"{value}"' if quoted else value
        lines[name] = f"{name.replace('-', '_')}: {written}"
    return yaml_file.parse("\n".join(lines.values()), "SET") if lines else Document("SET")


def without_secrets(text: str) -> str:
    """Return SET without the passwords in URLs. `document` refuses other secrets."""
    return " ".join(hidden(word) for word in text.split())

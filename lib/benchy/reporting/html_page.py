"""Renders the templates of pages.

Every page is one file that works from disk without a network. It contains its style and script;
its Content-Security-Policy allows only these, by hash. A model's page also loads script files with
samples from its own directory (see sample_files.py). External text reaches the pages through
Jinja2's escaping, or as JSON data that the script sets as text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from benchy.core import paths, temporary_files
from benchy.display.hidden_characters import finalize, visible

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
    )
    environment.filters["breakable"] = breakable
    return environment


@cache
def _source(name: str) -> tuple[Any, str]:
    """Return a file of templates/, marked as safe to include, and its hash for the policy."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    sha = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return _templates().filters["safe"](text), f"sha256-{sha}"


def render(template: str, script: str, /, **values: Any) -> str:
    css, css_hash = _source("page.css")
    js, js_hash = _source(script)
    page = _templates().get_template(template)
    return page.render(css=css, css_hash=css_hash, js=js, js_hash=js_hash, **values).lstrip() + "\n"


def folder(model: str, limit: int | None) -> Path:
    """Return the directory of a model's page and results."""
    return paths.RESULTS / paths.limit_dir(limit) / model


def breakable(name: str) -> Any:
    """Return a name as markup that can wrap after `_`, `,`, `+` and `-` (a template filter)."""
    return Markup("<wbr>").join(map(escape, re.split(r"(?<=[_,+-])(?=\w)", visible(name))))


def put(path: Path, text: str) -> None:
    """Write a file in one rename."""
    # A lone surrogate cannot be encoded as UTF-8, so it is written as its escape.
    temporary_files.write(path, text, errors="backslashreplace")

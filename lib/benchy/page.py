"""The leaderboard as a page, results/index.html, and what modelpage.py shares with it.

Every page is one file that works from the disk with no network: style and script stand in it and
are the only ones that its Content-Security-Policy lets run, by their hashes. A model's page also
loads script files with samples (see samples.py) that lie beside it. Texts from outside reach the
pages through Jinja2's escaping or as JSON data that the script sets as text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from benchy import paths
from benchy.entries import Entry
from benchy.leaderboard import Board, Column, Mean, Row

TEMPLATES = Path(__file__).parent / "templates"


# Up to how many columns, and the page on which they are printed (templates/page.css): all columns
# stand beside each other, and a viewer scales a page to the paper that there is.
PAPERS = ((10, ""), (26, "many"), (50, "broad"))


@dataclass(frozen=True)
class Bar:
    """Percent of the width: the score, and one standard error to each side (None: unknown)."""

    width: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cell:
    """A number of the table. value, stderr: as compared; text, error: as read; value is None where
    the result does not have the metric. note: where its metric is another than its column's. marks:
    of this result alone. kind: numbers of other kinds are measured otherwise; "" for most."""

    value: float | None
    stderr: float | None
    text: str
    error: str
    bar: Bar | None
    href: str = ""
    classes: str = ""
    note: str = ""
    marks: tuple[str, ...] = ()
    kind: str = ""


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


@cache
def _source(name: str) -> tuple[Any, str]:
    """A file of templates/ to stand in a page as it is, and its hash for the policy."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    sha = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return _templates().filters["safe"](text), f"sha256-{sha}"


def render(template: str, script: str, /, **values: Any) -> str:
    css, css_hash = _source("page.css")
    js, js_hash = _source(script)
    page = _templates().get_template(template)
    return page.render(css=css, css_hash=css_hash, js=js, js_hash=js_hash, **values).lstrip() + "\n"


def folder(model: str, limit: int | None) -> Path:
    """Where a model's page and results lie."""
    return paths.RESULTS / paths.limit_dir(limit) / model


def _bar(percent: float, stderr: float | None) -> Bar:
    def inside(value: float) -> float:
        return round(min(100.0, max(0.0, value)), 1)

    if stderr is None:
        return Bar(inside(percent), None, None)
    return Bar(inside(percent), inside(percent - stderr), inside(percent + stderr))


def _text(value: float) -> str:
    """A number on no scale, with four digits that mean something."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def cell(entry: Entry, column: Column, href: str = "") -> Cell:
    """A result in its column: in percent where the column is, drawn as it is measured (where less
    is better, a short bar is the good one)."""
    score, kind = entry.score, str(entry.kind or "")
    marks = tuple(mark for mark in entry.brief if mark != column.part)
    if score is None:
        return Cell(None, None, "–", "", None, href, "", "", marks, kind)  # noqa: RUF001
    if entry.metric != column.metric or column.factor is None:
        note = "" if entry.metric == column.metric else entry.metric
        error = "" if score.stderr is None else _text(score.stderr)
        text = _text(score.value)
        return Cell(score.value, score.stderr, text, error, None, href, "", note, marks, kind)
    value = score.value * column.factor
    stderr = None if score.stderr is None else score.stderr * column.factor
    return Cell(
        round(value, 4),
        None if stderr is None else round(stderr, 4),
        f"{value:.1f}",
        "" if stderr is None else f"{stderr:.1f}",
        _bar(value, stderr),
        href,
        marks=marks,
        kind=kind,
    )


def _mean(mean: Mean) -> Cell:
    error = None if mean.stderr is None else round(mean.stderr, 4)
    text = "" if mean.stderr is None else f"{mean.stderr:.1f}"
    bar = _bar(mean.value, mean.stderr)
    kind, marks = ".".join(map(str, mean.kinds)), tuple(mean.marks)
    value, shown = round(mean.value, 4), f"{mean.value:.1f}"
    return Cell(value, error, shown, text, bar, "", " group", "", marks, kind)


def _sorted(board: Board) -> list[Row]:
    """As the page opens: by the first group's mean, the best first, then those that have none;
    limited ones, which compare with nothing, at the end."""

    def key(row: Row) -> tuple[bool, float]:
        first = row.means[0] if row.means else None
        return row.limit is not None, -first.value if first else 1.0

    return sorted(board.rows, key=key)


def _best(board: Board) -> list[str]:
    """The best number of each column, as it is written; "" for none. Groups' columns come first.
    Only numbers that compare with each other count, at least two of them."""
    rows = [row for row in board.rows if row.fair]
    found = []
    for n in range(len(board.groups)):
        means = [m.value for row in rows if (m := row.means[n]) and not m.marks]
        found.append(f"{max(means):.1f}" if len(means) > 1 else "")
    for n, column in enumerate(board.columns):
        cells = [cell(e, column) for row in rows if (e := row.cells[n])]
        numbers = [
            (c.value, c.text) for c in cells if c.value is not None and not (c.note or c.marks)
        ]
        if len(numbers) < 2 or not column.better:
            found.append("")
        else:
            pick = max if column.better > 0 else min
            found.append(pick(numbers, key=lambda n: n[0])[1])
    return found


def index(board: Board, now: str, notes: Sequence[str] = ()) -> str:
    """The text of results/index.html. notes: what a reader must be told first."""
    best = _best(board)

    def filled(row: Row) -> Iterator[Cell | None]:
        here = quote(str(folder(row.model, row.limit).relative_to(paths.RESULTS)))
        cells: list[Cell | None] = [_mean(m) if m else None for m in row.means]
        for entry, column in zip(row.cells, board.columns, strict=True):
            href = f"{here}/index.html#{quote(column.task)}"
            one = cell(entry, column, href) if entry else None
            if one and entry:
                one = replace(one, marks=tuple(row.brief(entry, column)))
            cells.append(one)
        for one, top in zip(cells, best, strict=True):
            if one and row.fair and one.text == top and not (one.note or one.marks):
                yield replace(one, classes=f"{one.classes} best")
            else:
                yield one

    rows = [
        {
            "model": row.model,
            "name": row.name,
            "href": quote(str(folder(row.model, row.limit).relative_to(paths.RESULTS)))
            + "/index.html",
            "release": row.release,
            "limit": row.limit,
            "marks": row.marks,
            "kinds": " ".join(
                kind
                for kind, so in (
                    ("fallback", row.fallback),
                    ("limited", row.limit is not None),
                    ("stale", row.stale),
                    ("unasked", row.unasked),
                )
                if so
            )
            or "plain",
            "cells": filled(row),
        }
        for row in _sorted(board)
    ]
    kinds = [
        ("limited", "limited", any(row.limit is not None for row in board.rows)),
        ("fallback", "fallback", any(row.fallback for row in board.rows)),
        ("stale", "stale", any(row.stale for row in board.rows)),
        ("unasked", "of no config", any(row.unasked for row in board.rows)),
    ]
    groups = [
        {
            "name": name,
            "count": len(group.weights),
            "title": f"{group.about} " * bool(group.about)
            + "Weighted mean of "
            + ", ".join(f"{weight:g} {task}" for task, weight in group.weights.items()),
        }
        for name, group in board.groups.items()
    ]
    columns = [{**asdict(column), "title": column.about or column.task} for column in board.columns]
    width = 2 + len(groups) + len(columns)
    return render(
        "index.html.jinja",
        "index.js",
        rows=rows,
        columns=columns,
        groups=groups,
        kinds=kinds,
        paper=next((paper for most, paper in PAPERS if width <= most), "plan"),
        now=now,
        notes=list(notes),
        count=len(board.entries),
        models=len({row.model for row in board.rows}),
    )


def put(path: Path, text: str) -> None:
    """Write a file in one rename."""
    aside = paths.aside(path)
    # A lone half of a surrogate pair has no UTF-8; it is shown as its escape.
    aside.write_bytes(text.encode("utf-8", "backslashreplace"))
    aside.replace(path)

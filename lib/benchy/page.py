"""The leaderboard as pages: results/index.html and one page for each model, from templates/.

Every page is one file that works from the disk with no network: style and script stand in it and
are the only ones that its Content-Security-Policy lets run, by their hashes. A model's page also
loads script files with samples (see samples.py) that lie beside it. Texts from outside reach the
pages through Jinja2's escaping or as JSON data that the script sets as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from benchy import again, paths, samples
from benchy.leaderboard import Board, Column, Entry, Mean, Row

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Bar:
    """Percent of the width: the score, and one standard error to each side (None: unknown)."""

    width: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cell:
    """A number of the table. value, stderr: as compared; text, error: as read. note: where its
    metric is another than its column's."""

    value: float
    stderr: float | None
    text: str
    error: str
    bar: Bar | None
    href: str = ""
    classes: str = ""
    note: str = ""


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


@cache
def version() -> str:
    """Changes with whatever decides how pages look."""
    found = hashlib.sha256()
    modules = (samples.__file__, again.__file__)
    for path in [Path(__file__), *map(Path, modules), *sorted(TEMPLATES.iterdir())]:
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


def _render(template: str, script: str, /, **values: Any) -> str:
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
    score = entry.score
    if entry.metric != column.metric or column.factor is None:
        note = "" if entry.metric == column.metric else entry.metric
        error = "" if score.stderr is None else _text(score.stderr)
        return Cell(score.value, score.stderr, _text(score.value), error, None, href, "", note)
    value = score.value * column.factor
    stderr = None if score.stderr is None else score.stderr * column.factor
    return Cell(
        round(value, 4),
        None if stderr is None else round(stderr, 4),
        f"{value:.1f}",
        "" if stderr is None else f"{stderr:.1f}",
        _bar(value, stderr),
        href,
    )


def _mean(mean: Mean) -> Cell:
    error = None if mean.stderr is None else round(mean.stderr, 4)
    text = "" if mean.stderr is None else f"{mean.stderr:.1f}"
    bar = _bar(mean.value, mean.stderr)
    return Cell(round(mean.value, 4), error, f"{mean.value:.1f}", text, bar, "", " group")


def _marks(row: Row) -> list[str]:
    found = [row.fallback] if row.fallback else []
    if row.limit is not None:
        found.append(f"limit {row.limit}")
    if row.stale:
        found.append("stale")
    return found


def _sorted(board: Board) -> list[Row]:
    """As the page opens: by the first group's mean, the best first, then those that have none;
    limited ones, which compare with nothing, at the end."""

    def key(row: Row) -> tuple[bool, float]:
        first = row.means[0] if row.means else None
        return row.limit is not None, -first.value if first else 1.0

    return sorted(board.rows, key=key)


def _best(board: Board) -> list[str]:
    """The best number of each column among whole results, as it is written; "" for none. Groups'
    columns come first."""
    full = [row for row in board.rows if row.limit is None]
    found = []
    for n in range(len(board.groups)):
        means = [m.value for row in full if (m := row.means[n])]
        found.append(f"{max(means):.1f}" if len(means) > 1 else "")
    for n, column in enumerate(board.columns):
        cells = [cell(e, column) for row in full if (e := row.cells[n])]
        cells = [c for c in cells if not c.note]
        if len(cells) < 2 or not column.better:
            found.append("")
        else:
            pick = max if column.better > 0 else min
            found.append(pick(cells, key=lambda c: c.value).text)
    return found


def index(board: Board, now: str, notes: Sequence[str] = ()) -> str:
    """The text of results/index.html. notes: what a reader must be told first."""
    best = _best(board)

    def filled(row: Row) -> Iterator[Cell | None]:
        here = quote(str(folder(row.model, row.limit).relative_to(paths.RESULTS)))
        cells: list[Cell | None] = [_mean(m) if m else None for m in row.means]
        for entry, column in zip(row.cells, board.columns, strict=True):
            href = f"{here}/index.html#{quote(column.task)}"
            cells.append(cell(entry, column, href) if entry else None)
        for one, top in zip(cells, best, strict=True):
            if one and row.limit is None and one.text == top and not one.note:
                yield Cell(**{**vars(one), "classes": f"{one.classes} best"})
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
            "marks": _marks(row),
            "kinds": " ".join(
                kind
                for kind, so in (
                    ("fallback", row.fallback),
                    ("limited", row.limit is not None),
                    ("stale", row.stale),
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
    return _render(
        "index.html.jinja",
        "index.js",
        rows=rows,
        columns=columns,
        groups=groups,
        kinds=kinds,
        now=now,
        notes=list(notes),
        count=len(board.entries),
        models=len({row.model for row in board.rows}),
    )


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    """Everything of results.json but the numbers, one dotted name a line."""

    def walk(name: str, value: object) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict) and value:
            for key in sorted(value):
                yield from walk(f"{name}.{key}" if name else key, value[key])
        elif value is None:
            yield name, "not known or not asked for"
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    document = asdict(entry.result)
    for shown_elsewhere in ("metrics", "groups", "score", "arguments", "times"):
        del document[shown_elsewhere]
    yield from walk("", document)


def _times(entry: Entry) -> list[tuple[str, str]]:
    times, counts = entry.result.times, entry.result.counts
    found = [("Took", f"{duration(times.seconds)}, {times.start} to {times.end}")]
    if times.server_ready_seconds is not None:
        found.append(("Server ready after", duration(times.server_ready_seconds)))
    documents = sum(counts.samples.values())
    if times.seconds:
        rate = f"{documents / times.seconds:.3g} samples a second ({documents:,} samples)"
        if counts.requests:
            rate += f", {counts.requests / times.seconds:.3g} requests a second"
        found.append(("Throughput", rate))
    gpus = entry.result.gpus
    device = gpus if isinstance(gpus, str) else f"GPU {', '.join(map(str, gpus))}"
    many = entry.result.nodes
    found.append(("Device", device if many == 1 else f"{many} nodes, each: {device}"))
    return found


def duration(seconds: float) -> str:
    """3.5 s, 12 min 4 s, 3 h 5 min"""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _parts(entry: Entry) -> Iterator[dict[str, Any]]:
    result = entry.result
    for group, found in ((True, result.groups), (False, result.metrics)):
        for name, metrics in found.items():
            for key, metric in metrics.items():
                yield {
                    "name": name,
                    "group": group,
                    "metric": key.removesuffix(",none"),
                    "better": metric.higher_is_better,
                    "value": f"{metric.value:.4f}",
                    "stderr": "" if metric.stderr is None else f"{metric.stderr:.4f}",
                    "samples": "" if group else result.counts.samples.get(name, ""),
                }


def model(row: Row, board: Board, parts: dict[str, int]) -> str:
    """The text of a model's page. parts: task → how many script files hold its samples."""
    here = folder(row.model, row.limit)
    pairs = [(e, c) for e, c in zip(row.cells, board.columns, strict=True) if e]
    cells = [(column.task, cell(entry, column)) for entry, column in pairs]
    one = pairs[0][0].result.model
    tasks = [
        {
            "task": entry.task,
            "value": entry.value,
            "metric": entry.metric,
            "of": entry.score.of,
            "about": column.about,
            "marks": entry.marks,
            "parts": list(_parts(entry)),
            "times": _times(entry),
            "samples": parts.get(entry.task, 0),
            "at": quote(entry.task),
            "repeat": again.commands(entry.result),
            "server": shlex.join(["python", *entry.result.arguments]),
            "facts": list(_facts(entry)),
            "json": f"{quote(entry.task)}/results.json",
        }
        for entry, column in pairs
    ]
    return _render(
        "model.html.jinja",
        "model.js",
        model=row.model,
        name=row.name,
        revision=one.revision_used or one.revision or one.digest,
        release=row.release,
        marks=_marks(row),
        home="../" * len(here.relative_to(paths.RESULTS).parts) + "index.html",
        chart=[
            {"task": task, "text": c.text, "error": c.error, "bar": c.bar}
            for task, c in cells
            if c.bar
        ],
        tasks=tasks,
    )


def put(path: Path, text: str) -> None:
    """Write a file in one rename."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    # A lone half of a surrogate pair has no UTF-8; it is shown as its escape.
    aside.write_bytes(text.encode("utf-8", "backslashreplace"))
    aside.replace(path)


def _key(row: Row, board: Board) -> str:
    """Changes with whatever a model's page shows."""
    found = hashlib.sha256(version().encode())
    for entry, column in zip(row.cells, board.columns, strict=True):
        if entry:
            found.update(repr(column).encode())
            about = entry.path.stat()
            found.update(f"{entry.path} {about.st_mtime_ns} {about.st_size}".encode())
            found.update(repr((entry.marks, entry.chosen)).encode())
    return found.hexdigest()


def write_models(board: Board) -> int:
    """Bring the models' pages up to date; how many were written. A page whose key still fits is
    only looked at, so that one new result among many costs one page."""
    written = 0
    for row in board.rows:
        path = folder(row.model, row.limit) / "index.html"
        last = f"<!-- {_key(row, board)} -->\n".encode()
        try:
            with path.open("rb") as file:
                file.seek(-len(last), os.SEEK_END)
                if file.read() == last:
                    continue
        except OSError:
            pass
        parts = {}
        for entry in row.cells:
            if entry:
                about = entry.path.stat()
                key = f"{version()} {about.st_mtime_ns} {about.st_size}"
                parts[entry.task] = samples.write(entry.path.parent, entry.result, key)
        put(path, model(row, board, parts) + last.decode())
        written += 1
    return written

"""The leaderboard page, results/index.html, and the cells that model_page.py shares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import quote

from benchy.core import paths
from benchy.evaluation import scores
from benchy.evaluation.scored_result import ScoredResult
from benchy.reporting import html_page, model_traits
from benchy.reporting.leaderboard import Board, Column, Mean, Row
from benchy.reporting.ranking import standing

# (maximum number of columns, printed page in templates/page.css). A page is wide enough to print
# all columns side by side; a viewer scales it to the available paper.
PAPERS = ((10, ""), (26, "many"), (50, "broad"))


@dataclass(frozen=True)
class Bar:
    """A bar, in percent of the width. low, high: one standard error below and above the score;
    None if unknown."""

    width: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ScoreCell:
    """A number of the table.

    Attributes:
        value: The number for comparisons; None if the result does not have the metric.
        stderr: Its standard error; None if unknown.
        text: The number as displayed.
        error: The standard error as displayed.
        bar: The bar; None if the metric has no scale.
        href: The link to the result on the model's page.
        group: Whether the number is a group's mean.
        note: The metric, if it is not the column's.
        marks: The marks of this result alone.
        kind: Numbers of different kinds are measured in different ways; "" is the common kind.
        standing: BEST, TIED or "" (see ranking.py).
    """

    value: float | None
    stderr: float | None
    text: str
    error: str
    bar: Bar | None
    href: str = ""
    group: bool = False
    note: str = ""
    marks: tuple[str, ...] = ()
    kind: str = ""
    standing: str = ""


def _bar(share: float, stderr: float | None) -> Bar:
    def inside(value: float) -> float:
        return round(min(100.0, max(0.0, 100 * value)), 1)

    if stderr is None:
        return Bar(inside(share), None, None)
    return Bar(inside(share), inside(share - stderr), inside(share + stderr))


def _round(value: float | None) -> float | None:
    """Round a number to six significant digits, which is enough for the script."""
    return None if value is None else float(f"{value:.6g}")


def cell(entry: ScoredResult, column: Column, href: str = "") -> ScoreCell:
    """Return the cell of a result in its column, with a bar if the metric has a scale.

    The bar shows the measured value: if lower is better, a shorter bar is better.
    """
    score, kind = entry.score, str(entry.kind or "")
    marks = tuple(mark.brief for mark in entry.brief if not column.shares(mark))
    if score is None:
        return ScoreCell(None, None, "–", "", None, href, marks=marks, kind=kind)  # noqa: RUF001
    own, bar = entry.metric != column.metric, None
    if not own and column.factor is not None:
        error = None if score.stderr is None else score.stderr * column.factor
        bar = _bar(score.value * column.factor, error)
    return ScoreCell(
        _round(score.value),
        _round(score.stderr),
        scores.number(score.value, score.metric),
        "" if score.stderr is None else scores.error(score.stderr, score.value, score.metric),
        bar,
        href,
        note=entry.metric if own else "",
        marks=marks,
        kind=kind,
    )


def _mean(mean: Mean) -> ScoreCell:
    return ScoreCell(
        _round(mean.value),
        _round(mean.stderr),
        scores.number(mean.value, ""),
        "" if mean.stderr is None else scores.error(mean.stderr, mean.value, ""),
        _bar(mean.value, mean.stderr),
        group=True,
        marks=tuple(mean.marks),
        kind=".".join(map(str, mean.kinds)),
    )


def _sorted(board: Board) -> list[Row]:
    """Return the rows in the page's initial order.

    The best mean of the first group comes first, and rows without that mean follow. Rows with a
    limit come last, because their numbers do not compare with the others.
    """

    def key(row: Row) -> tuple[bool, float]:
        first = row.means[0] if row.means else None
        return row.limit is not None, -first.value if first else 1.0

    return sorted(board.rows, key=key)


def _cells(board: Board, row: Row) -> list[ScoreCell | None]:
    """Return the cells of a row: the groups' means, then the tasks."""
    here = quote(str(html_page.folder(row.model, row.limit).relative_to(paths.RESULTS)))
    cells: list[ScoreCell | None] = [_mean(m) if m else None for m in row.means]
    for entry, column in zip(row.cells, board.columns, strict=True):
        href = f"{here}/index.html#{quote(column.task)}"
        score_cell = cell(entry, column, href) if entry else None
        if score_cell and entry:
            score_cell = replace(score_cell, marks=tuple(row.brief(entry, column)))
        cells.append(score_cell)
    return cells


def _stand(board: Board, rows: Sequence[Row], table: list[list[ScoreCell | None]]) -> None:
    """Mark the best numbers of each column. Only unmarked numbers of the column's metric count."""
    better = [1] * len(board.groups) + [column.better for column in board.columns]
    for n, direction in enumerate(better):
        fair = [
            (cells, score_cell, score_cell.value)
            for row, cells in zip(rows, table, strict=True)
            if row.fair and (score_cell := cells[n]) and score_cell.value is not None
            if not (score_cell.note or score_cell.marks)
        ]
        places = standing([(value, score_cell.stderr) for _, score_cell, value in fair], direction)
        for (cells, score_cell, _), place in zip(fair, places, strict=True):
            if place:
                cells[n] = replace(score_cell, standing=place)


def index(board: Board, now: str, notes: Sequence[str] = ()) -> str:
    """Return the text of results/index.html. now: the time of the report; notes: messages that the
    page shows first."""
    groups, columns = _groups(board), _columns(board)
    kinds = [
        ("limited", "limited", any(row.limit is not None for row in board.rows)),
        ("fallback", "fallback", any(row.fallback for row in board.rows)),
        ("stale", "stale", any(row.stale for row in board.rows)),
        ("unasked", "of no config", any(row.unasked for row in board.rows)),
    ]
    width = 2 + len(groups) + len(columns)
    return html_page.render(
        "index.html.jinja",
        "index.js",
        rows=_rows(board),
        columns=columns,
        groups=groups,
        traits=model_traits.COLUMNS,
        kinds=kinds,
        paper=next((paper for most, paper in PAPERS if width <= most), "plan"),
        now=now,
        notes=list(notes),
        count=len(board.entries),
        models=len({row.model for row in board.rows}),
    )


def _rows(board: Board) -> list[dict[str, Any]]:
    """Return what the page shows of each row."""
    ordered = _sorted(board)
    table = [_cells(board, row) for row in ordered]
    _stand(board, ordered, table)
    return [
        {
            "model": row.model,
            "name": row.name,
            "href": quote(str(html_page.folder(row.model, row.limit).relative_to(paths.RESULTS)))
            + "/index.html",
            "engines": [_engine(part) for part in row.release.split(", ")],
            "limit": row.limit,
            "marks": row.marks,
            "kinds": _kinds(row),
            "cells": cells,
            "traits": model_traits.of([e.result for e in row.cells if e]),
        }
        for row, cells in zip(ordered, table, strict=True)
    ]


def _groups(board: Board) -> list[dict[str, Any]]:
    """Return what the page shows of each group."""
    return [
        {
            "name": name,
            "count": len(group.weights),
            "title": f"{group.about} " * bool(group.about)
            + "Weighted mean of "
            + ", ".join(f"{weight:g} {task}" for task, weight in group.weights.items()),
        }
        for name, group in board.groups.items()
    ]


def _columns(board: Board) -> list[dict[str, Any]]:
    """Return what the page shows of each task."""
    return [
        {
            **asdict(column),
            "title": column.about or column.task,
            "percent": scores.in_percent(column.metric),
        }
        for column in board.columns
    ]


def _engine(release: str) -> tuple[str, str, str]:
    """Split "vllm 0.8.0.dev1+gabc" into package, release and development suffix."""
    package, _, version = release.rpartition(" ")
    match = re.match(r"[\d.]*\d(?:rc\d+|[ab]\d+|\.post\d+)?", version)
    plain = match[0] if match else version
    return package, plain, version[len(plain) :]


def _kinds(row: Row) -> str:
    """Return the words by which the page's checkboxes show and hide a row."""
    kinds = {
        "fallback": row.fallback,
        "limited": row.limit is not None,
        "stale": row.stale,
        "unasked": row.unasked,
    }
    return " ".join(kind for kind, so in kinds.items() if so) or "plain"

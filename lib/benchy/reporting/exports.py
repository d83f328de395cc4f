"""bin/report: write all results to the files of the leaderboard.

Reads what leaderboard.py reads. Writes results/leaderboard.{json,csv,md} (one entry for each
result, then one for each group's mean), results/index.html and a page for each model. `--table`
prints a small table on stdout instead and writes nothing. Damaged files are reported and left out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from benchy.core import paths
from benchy.core.errors import printable
from benchy.display.hidden_characters import visible
from benchy.evaluation import scores
from benchy.evaluation.marks import MarkKind
from benchy.evaluation.scored_result import ScoredResult
from benchy.reporting import html_page, index_page, model_page, model_traits
from benchy.reporting.leaderboard import Board, Mean

TAG = "REPORT"
BOM = "\ufeff"  # without it, Excel reads UTF-8 as the code page of the machine


def write(board: Board, notes: Sequence[str] = ()) -> None:
    """Write all files, each in one rename. Pages of unchanged models are not rewritten."""
    paths.RESULTS.mkdir(exist_ok=True)
    model_page.write(board)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    for name, text in (
        ("leaderboard.json", as_json(board)),
        ("leaderboard.csv", BOM + as_csv(board)),
        ("leaderboard.md", as_markdown(board)),
        ("index.html", index_page.index(board, now, notes)),
    ):
        html_page.put(paths.RESULTS / name, text)


def flat(entry: ScoredResult) -> dict[str, Any]:
    """Return a result as one row of plain values."""
    r, score = entry.result, entry.score
    return {
        "model": entry.model,
        "name": r.model.name,
        "revision": r.model.served,
        "task": entry.task,
        "limit": r.limit,
        "metric": score.metric if score else entry.chosen,
        "value": score.value if score else None,
        "stderr": score.stderr if score else None,
        "higher_is_better": score.higher_is_better if score else None,
        "of": score.of if score else None,
        "package": r.engine.package,
        "version_asked": r.engine.asked,
        "version_answered": r.engine.answered,
        "fallback": r.fallback,
        "stale": entry.stale,
        "marks": "; ".join(entry.marks),
        "harness": f"{r.harness.name} {r.harness.version}",
        **model_traits.flat(r),
        "finished": r.times.end,
        "seconds": r.times.seconds,
        "path": str(entry.path),
        "group": None,
    }


def flat_all(board: Board) -> list[dict[str, Any]]:
    """Return a row for each result, then one for each mean, which has a `group` and no `task`."""
    rows = [flat(e) for e in board.entries]
    names = dict.fromkeys(rows[0]) if rows else {}
    for row in board.rows:
        for (group, about), mean in zip(board.groups.items(), row.means, strict=True):
            if mean:
                rows.append(
                    names
                    | {
                        "model": row.model,
                        "name": row.name,
                        "limit": row.limit,
                        "metric": "percent",  # programs rely on this name
                        "value": 100 * mean.value,
                        "stderr": None if mean.stderr is None else 100 * mean.stderr,
                        "higher_is_better": True,
                        "of": f"mean of {len(about.weights)} tasks",
                        "fallback": bool(row.fallback),
                        "stale": row.stale,
                        "marks": "; ".join(row.marks + mean.marks),
                        "group": group,
                    }
                )
    return rows


def as_json(board: Board) -> str:
    return json.dumps(flat_all(board), indent=1, ensure_ascii=False) + "\n"


def as_csv(board: Board) -> str:
    """Return the rows as CSV. Numbers stay numbers. Text that a spreadsheet would treat as a
    formula gets the prefix '."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    rows = flat_all(board)
    if rows:
        writer.writerow(rows[0])
    writer.writerows([_plain(value) for value in row.values()] for row in rows)
    return out.getvalue()


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = printable(value)  # the file may be printed on a terminal, by cat for example
    return f"'{shown}" if value.lstrip()[:1] in ("=", "+", "-", "@") else shown


def as_markdown(board: Board) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(_cell(c) for c in cells) + " |\n"

    tasks = [f"{c.task}{_in_brackets([c.part] * bool(c.part))}" for c in board.columns]
    rules = ["---", "---", *("---:" for _ in (*board.groups, *tasks))]
    out = line(["model", "engine", *board.groups, *tasks]) + line(rules)
    for row in board.rows:
        name = row.model if row.limit is None else f"{row.model} (limit {row.limit})"
        marks = [mark for mark in row.marks if mark.kind is not MarkKind.LIMIT]
        release = f"{row.release}{_in_brackets(marks)}"
        means = ["-" if m is None else _mean(m) for m in row.means]
        cells = [
            f"{_number(e)}{_in_brackets(row.brief(e, column))}" if e else "-"
            for e, column in zip(row.cells, board.columns, strict=True)
        ]
        out += line([name, release, *means, *cells])
    return out


def _number(entry: ScoredResult) -> str:
    return f"{entry.value} {entry.metric}" if entry.score else entry.value


def _mean(mean: Mean) -> str:
    return f"{scores.with_error(mean.value, mean.stderr, '')}{_in_brackets(mean.marks)}"


def _in_brackets(marks: Sequence[str]) -> str:
    return f" ({'; '.join(marks)})" if marks else ""


def _cell(text: str) -> str:
    """Escape text for a Markdown table, where < starts a tag, [ a link or an image, and ` code."""
    for what, by in (("\n", " "), ("\r", " ")):
        text = text.replace(what, by)
    text = visible(text)
    for what, by in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("[", "\\["), ("`", "\\`")):
        text = text.replace(what, by)
    return text

"""bin/report: all results in one place.

Reads what leaderboard.py reads. Writes results/leaderboard.{json,csv,md} (one entry for each
result, then one for each group's mean), results/index.html and a page for each model. `--table`
prints a small table on stdout instead and writes nothing. A damaged file is named and left out.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from benchy import modelpage, page, paths, reported, scores, traits
from benchy.entries import Entry, collect
from benchy.errors import printable, say
from benchy.leaderboard import Board, Mean, chosen, whole
from benchy.visible import visible

TAG = "REPORT"
BOM = "\ufeff"  # without it, Excel takes UTF-8 for the code page of the machine


def main(argv: list[str]) -> int:
    """bin/report, or bin/report --table [--limit N] MODEL…; 1 if a file was damaged."""
    parser = argparse.ArgumentParser(prog="bin/report", description="Make the leaderboard.")
    parser.add_argument("--table", action="store_true", help="print a table of MODEL… instead")
    parser.add_argument("--limit", type=int, help="with --table: the results over N items each")
    parser.add_argument(
        "--stale", action="append", default=[], metavar="PATH", help="with --table: to be marked"
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="with --table: which models")
    args = parser.parse_args(argv)
    if not args.table:
        made_from = reported.signature()
        reported.begin()
        board, damaged, mistakes = whole()
        write(board, [str(d).splitlines()[0] for d in damaged])
        for mistake in mistakes:
            print(f"the leaderboard is without its groups and metrics: {mistake}", file=sys.stderr)
        # What is wrong is told every time.
        reported.note(None if damaged or mistakes else made_from)
        say(TAG, f"{paths.RESULTS / 'index.html'}  ({len(board.entries)} results)")
    else:
        entries, damaged = collect(args.models or None, args.limit, limited=args.limit is not None)
        if entries:
            entries, mistakes = chosen(entries)
            entries = [replace(e, stale=str(e.path) in args.stale) for e in entries]
            print(table(entries))  # its cells are printable
            for mistake in mistakes:
                print(f"the table is without the task files' metrics: {mistake}", file=sys.stderr)
    for what in damaged:
        print(what, file=sys.stderr)
    return 1 if damaged else 0


def table(entries: Sequence[Entry]) -> str:
    """Aligned columns; numbers under numbers."""
    head = ("model", "task", "metric", "score", "result")
    rows = [
        [
            printable(text)
            for text in (
                *(e.model, e.task, e.metric, e.value),
                " ".join([str(e.path), *(f"({m})" for m in e.marks)]),
            )
        ]
        for e in entries
    ]
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(4)]
    return "\n".join(
        "  ".join([*(row[n].ljust(widths[n]) for n in range(4)), row[4]]) for row in [head, *rows]
    )


def write(board: Board, notes: Sequence[str] = ()) -> None:
    """All files, each in one rename; the pages of models that are as they were stay."""
    paths.RESULTS.mkdir(exist_ok=True)
    modelpage.write(board)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    for name, text in (
        ("leaderboard.json", as_json(board)),
        ("leaderboard.csv", BOM + as_csv(board)),
        ("leaderboard.md", as_markdown(board)),
        ("index.html", page.index(board, now, notes)),
    ):
        page.put(paths.RESULTS / name, text)


def flat(entry: Entry) -> dict[str, Any]:
    """A result as one row of plain values."""
    r, score = entry.result, entry.score
    return {
        "model": entry.model,
        "name": r.model.name,
        "revision": r.model.revision_used or r.model.revision or r.model.digest,
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
        **traits.flat(r),
        "finished": r.times.end,
        "seconds": r.times.seconds,
        "path": str(entry.path),
        "group": None,
    }


def flat_all(board: Board) -> list[dict[str, Any]]:
    """Every result, then the means: their task is None, their `group` is named."""
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
                        "metric": "percent",  # as programs have read it from the first
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
    """Numbers stay numbers; a text that a spreadsheet would take for a formula begins with '."""
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
    shown = printable(value)  # who looks at the file with cat is on a terminal
    return f"'{shown}" if value.lstrip()[:1] in ("=", "+", "-", "@") else shown


def as_markdown(board: Board) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(_cell(c) for c in cells) + " |\n"

    tasks = [f"{c.task}{_in_brackets([c.part] * bool(c.part))}" for c in board.columns]
    rules = ["---", "---", *("---:" for _ in (*board.groups, *tasks))]
    out = line(["model", "engine", *board.groups, *tasks]) + line(rules)
    for row in board.rows:
        name = row.model if row.limit is None else f"{row.model} (limit {row.limit})"
        marks = [mark for mark in row.marks if not mark.startswith("limit ")]
        release = f"{row.release}{_in_brackets(marks)}"
        means = ["-" if m is None else _mean(m) for m in row.means]
        cells = [
            f"{_number(e)}{_in_brackets(row.brief(e, column))}" if e else "-"
            for e, column in zip(row.cells, board.columns, strict=True)
        ]
        out += line([name, release, *means, *cells])
    return out


def _number(entry: Entry) -> str:
    return f"{entry.value} {entry.metric}" if entry.score else entry.value


def _mean(mean: Mean) -> str:
    return f"{scores.with_error(mean.value, mean.stderr, '')}{_in_brackets(mean.marks)}"


def _in_brackets(marks: Sequence[str]) -> str:
    return f" ({'; '.join(marks)})" if marks else ""


def _cell(text: str) -> str:
    """A text in a table of Markdown, where < would begin a tag, [ a link or an image and ` code."""
    for what, by in (("\n", " "), ("\r", " ")):
        text = text.replace(what, by)
    text = visible(text)
    for what, by in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("[", "\\["), ("`", "\\`")):
        text = text.replace(what, by)
    return text

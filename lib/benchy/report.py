"""bin/report: all results in one place.

Reads results/[limit-N/]<model>/<task>/results.json. Writes results/leaderboard.{json,csv,md} (one
entry for each result) and results/index.html (one row for each model, one column for each task; the
page needs nothing else). `--table` prints a small table on stdout instead and writes nothing.
A damaged file is named and left out.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2

from benchy import paths
from benchy import result as document
from benchy.errors import Failure, say
from benchy.result import Result

TAG = "REPORT"
_LIMIT = re.compile(r"limit-([1-9]\d*)")


@dataclass(frozen=True)
class Entry:
    """One result and where it lies."""

    path: Path
    result: Result

    @property
    def model(self) -> str:
        return self.result.model.config

    @property
    def task(self) -> str:
        return self.result.task.name

    @property
    def marks(self) -> list[str]:
        """What a reader must know before comparing the number, in words."""
        found = []
        if self.result.fallback:
            engine = self.result.engine
            found.append(f"fallback: {engine.answered} instead of {engine.asked}")
        if self.result.limit is not None:
            found.append(f"limit {self.result.limit}")
        return found

    @property
    def value(self) -> str:
        """0.3056 ± 0.0790; numbers on a scale to 100 with two places."""
        score = self.result.score
        places = 4 if abs(score.value) <= 1 else 2
        error = "" if score.stderr is None else f" ± {score.stderr:.{places}f}"
        return f"{score.value:.{places}f}{error}"

    @property
    def metric(self) -> str:
        return self.result.score.metric.removesuffix(",none")


def main(argv: list[str]) -> int:
    """bin/report, or bin/report --table [--limit N] MODEL…; 1 if a file was damaged."""
    parser = argparse.ArgumentParser(prog="bin/report", description="Make the leaderboard.")
    parser.add_argument("--table", action="store_true", help="print a table of MODEL… instead")
    parser.add_argument("--limit", type=int, help="with --table: the results over N items each")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="with --table: which models")
    args = parser.parse_args(argv)
    if not args.table:
        entries, damaged = collect()
        write(entries)
        say(TAG, f"{paths.RESULTS / 'index.html'}  ({len(entries)} results)")
    else:
        entries, damaged = collect(args.models or None, args.limit, limited=args.limit is not None)
        if entries:
            print(table(entries))
    for what in damaged:
        print(what, file=sys.stderr)
    return 1 if damaged else 0


def collect(
    models: Sequence[str] | None = None, limit: int | None = None, limited: bool | None = None
) -> tuple[list[Entry], list[Failure]]:
    """All results, by limit (whole ones first), model and task, and what is wrong with the others.
    models: only these. limited: True only those with this limit, False only whole ones."""
    entries, damaged = [], []
    for path, its_limit in sorted(_files(), key=lambda f: (f[1] or 0, f[0])):
        model = path.parent.parent.name
        if models is not None and model not in models:
            continue
        if limited is not None and its_limit != (limit if limited else None):
            continue
        try:
            found = document.read(path)
        except Failure as failure:
            damaged.append(failure)
            continue
        if found.limit != its_limit or found.model.config != model:
            damaged.append(
                Failure(
                    f"{path} says that it is of {found.model.config}, limit {found.limit}: it was "
                    "copied here",
                    f"Delete it; the next make makes it anew: rm {path}",
                )
            )
            continue
        entries.append(Entry(path, found))
    return entries, damaged


def _files() -> Iterable[tuple[Path, int | None]]:
    for top in paths.RESULTS.glob("*"):
        found = _LIMIT.fullmatch(top.name)
        for path in top.glob("*/*/results.json" if found else "*/results.json"):
            yield path, int(found[1]) if found else None


def table(entries: Sequence[Entry]) -> str:
    """Aligned columns; numbers under numbers."""
    head = ("model", "task", "metric", "score", "result")
    rows = [
        (e.model, e.task, e.metric, e.value, " ".join([str(e.path), *(f"({m})" for m in e.marks)]))
        for e in entries
    ]
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(4)]
    return "\n".join(
        "  ".join([*(row[n].ljust(widths[n]) for n in range(4)), row[4]]) for row in [head, *rows]
    )


def write(entries: Sequence[Entry]) -> None:
    """All four files, each in one rename."""
    paths.RESULTS.mkdir(exist_ok=True)
    for name, text in (
        ("leaderboard.json", as_json(entries)),
        ("leaderboard.csv", as_csv(entries)),
        ("leaderboard.md", as_markdown(entries)),
        ("index.html", as_html(entries)),
    ):
        temporary = paths.RESULTS / f".{name}.{os.getpid()}.tmp"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(paths.RESULTS / name)


def flat(entry: Entry) -> dict[str, Any]:
    """A result as one row of plain values."""
    r = entry.result
    return {
        "model": entry.model,
        "name": r.model.name,
        "revision": r.model.revision_used or r.model.revision or r.model.digest,
        "task": entry.task,
        "limit": r.limit,
        "metric": r.score.metric,
        "value": r.score.value,
        "stderr": r.score.stderr,
        "higher_is_better": r.score.higher_is_better,
        "of": r.score.of,
        "package": r.engine.package,
        "version_asked": r.engine.asked,
        "version_answered": r.engine.answered,
        "fallback": r.fallback,
        "harness": f"{r.harness.name} {r.harness.version}",
        "finished": r.times.end,
        "seconds": r.times.seconds,
        "path": str(entry.path),
    }


def as_json(entries: Sequence[Entry]) -> str:
    return json.dumps([flat(e) for e in entries], indent=1, ensure_ascii=False) + "\n"


def as_csv(entries: Sequence[Entry]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    rows = [flat(e) for e in entries]
    if rows:
        writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    return out.getvalue()


@dataclass(frozen=True)
class Row:
    """One model (and limit) and its results in the order of the columns."""

    model: str
    name: str
    limit: int | None
    release: str
    fallback: str
    cells: list[Entry | None]


def pivot(entries: Sequence[Entry]) -> tuple[list[str], list[Row]]:
    """The tasks, and one row for each model and limit: whole results first."""
    tasks = sorted({e.task for e in entries})
    found: dict[tuple[int, str], dict[str, Entry]] = {}
    for e in entries:
        found.setdefault((e.result.limit or 0, e.model), {})[e.task] = e
    rows = []
    for (limit, model), mine in sorted(found.items()):
        one = next(iter(mine.values())).result
        engines = [e.result.engine for e in mine.values()]
        releases = sorted({f"{engine.package} {engine.answered}" for engine in engines})
        marks = sorted({e.marks[0] for e in mine.values() if e.result.fallback})
        rows.append(
            Row(
                model,
                one.model.name,
                limit or None,
                ", ".join(releases),
                "; ".join(marks),
                [mine.get(task) for task in tasks],
            )
        )
    return tasks, rows


def as_markdown(entries: Sequence[Entry]) -> str:
    tasks, rows = pivot(entries)

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |\n"

    out = line(["model", "engine", *tasks]) + line(["---", "---", *("---:" for _ in tasks)])
    for row in rows:
        name = row.model if row.limit is None else f"{row.model} (limit {row.limit})"
        release = f"{row.release} ({row.fallback})" if row.fallback else row.release
        out += line([name, release, *(f"{c.value} {c.metric}" if c else "-" for c in row.cells)])
    return out


def as_html(entries: Sequence[Entry]) -> str:
    tasks, rows = pivot(entries)
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("leaderboard.html.jinja")
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return page.render(tasks=tasks, rows=rows, now=now, count=len(entries)) + "\n"

"""A model's page, results/[limit-N/]<model>/index.html.

It shows the model's numbers, what produced them, the commands that reproduce them, and its samples,
which are in script files in the directories of its results (sample_files.py).
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from typing import Any
from urllib.parse import quote

from benchy.core import hashing, paths
from benchy.display import units
from benchy.evaluation import marks, scores
from benchy.evaluation.scored_result import ScoredResult
from benchy.reporting import (
    freshness,
    html_page,
    index_page,
    model_traits,
    reproduce,
    sample_files,
)
from benchy.reporting.leaderboard import Board, Row


def _facts(entry: ScoredResult) -> Iterator[tuple[str, str]]:
    """Yield the known facts of results.json except the numbers, as (dotted name, text)."""

    def walk(name: str, value: object) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict) and value:
            for key in sorted(value):
                yield from walk(f"{name}.{key}" if name else key, value[key])
        elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            yield name, ", ".join(value)
        elif value not in (None, "", [], {}):
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    document = asdict(entry.result)
    for shown_elsewhere in ("metrics", "groups", "score", "arguments", "times", "checks"):
        del document[shown_elsewhere]
    yield from walk("", document)


def _times(entry: ScoredResult) -> list[tuple[str, str]]:
    times, counts = entry.result.times, entry.result.counts
    facts = _prompts(entry)
    facts.append(("Took", f"{units.duration(times.seconds)}, {times.start} to {times.end}"))
    if times.server_ready_seconds is not None:
        facts.append(("Server ready after", units.duration(times.server_ready_seconds)))
    documents = sum(counts.samples.values())
    if times.seconds:
        rate = f"{documents / times.seconds:.3g} samples a second ({documents:,} samples)"
        if counts.requests:
            rate += f", {counts.requests / times.seconds:.3g} requests a second"
        facts.append(("Throughput", rate))
    gpus = entry.result.gpus
    device = gpus if isinstance(gpus, str) else f"GPU {', '.join(map(str, gpus))}"
    many = entry.result.nodes
    facts.append(("Device", device if many == 1 else f"{many} nodes, each: {device}"))
    return facts


def _prompts(entry: ScoredResult) -> list[tuple[str, str]]:
    """Return how the model was prompted (shots, chat endpoint), as far as known."""
    used = model_traits.shots([entry.result])
    shots = [] if used is None else ["1 shot" if used == 1 else f"{used} shots"]
    return [("Prompts", ", ".join([*shots, "chat endpoint"] if entry.result.chat else shots))][
        : bool(shots or entry.result.chat)
    ]


def _parts(entry: ScoredResult) -> Iterator[dict[str, Any]]:
    result = entry.result
    for group, metrics_by_name in ((True, result.groups), (False, result.metrics)):
        for name, metrics in metrics_by_name.items():
            of_it = {name: result.checks[name]} if name in result.checks else {}
            checks = marks.of_checks(of_it)
            for key, metric in metrics.items():
                yield {
                    "name": name,
                    "group": group,
                    "metric": scores.short(key),
                    "better": metric.higher_is_better,
                    "value": scores.number(metric.value, key),
                    "stderr": ""
                    if metric.stderr is None
                    else scores.error(metric.stderr, metric.value, key),
                    "samples": "" if group else result.counts.samples.get(name, ""),
                    "marks": [] if group else [mark.brief for mark in checks],
                }


def _checks(entry: ScoredResult) -> list[tuple[str, list[int | str]]]:
    """Return the counts of each subtask's prompts and answers; "" for an unknown count."""
    rows = []
    for name, c in entry.result.checks.items():
        answers = [c.answers, c.empty, c.null] if c.answers else [None] * 3
        counts = [c.prompts, c.truncated, c.leaked, *answers]
        rows.append((name, ["" if count is None else count for count in counts]))
    return rows


def text(row: Row, board: Board, parts: dict[str, int]) -> str:
    """Return the text of a model's page. parts: the number of its samples' script files by task."""
    here = html_page.folder(row.model, row.limit)
    pairs = [(e, c) for e, c in zip(row.cells, board.columns, strict=True) if e]
    cells = [(column, index_page.cell(entry, column)) for entry, column in pairs]
    model = pairs[0][0].result.model
    about = model_traits.of([entry.result for entry, _ in pairs])
    tasks = [
        {
            "task": entry.task,
            "value": entry.value,
            "metric": entry.metric,
            "of": entry.score.of if entry.score and not entry.part else "",
            "about": column.about,
            "marks": entry.marks,
            "parts": list(_parts(entry)),
            "checks": _checks(entry),
            "times": _times(entry),
            "samples": parts.get(entry.task, 0),
            "at": quote(entry.task),
            "repeat": reproduce.commands(entry.result),
            "server": shlex.join(["python", *entry.result.arguments]),
            "facts": list(_facts(entry)),
            "json": f"{quote(entry.task)}/results.json",
        }
        for entry, column in pairs
    ]
    return html_page.render(
        "model.html.jinja",
        "model.js",
        model=row.model,
        name=row.name,
        revision=model.served,
        release=row.release,
        about=[(head[0], t) for head, t in zip(model_traits.COLUMNS, about, strict=True) if t.text],
        marks=row.marks,
        home="../" * len(here.relative_to(paths.RESULTS).parts) + "index.html",
        chart=[
            {
                "task": column.task,
                "metric": column.metric,
                "better": column.better,
                "text": c.text,
                "error": c.error,
                "bar": c.bar,
                "marked": bool(c.marks),
            }
            for column, c in cells
            if c.bar
        ],
        tasks=tasks,
    )


@cache
def _version() -> str:
    """Return a hash of all code and templates that determine how pages look."""
    return hashing.of_bytes(b"".join(path.read_bytes() for path in freshness.code()))


def _key(row: Row, board: Board) -> str:
    """Return a hash that changes with everything that a model's page shows."""
    parts = [_version()]
    for entry, column in zip(row.cells, board.columns, strict=True):
        if entry:
            about = entry.path.stat()
            parts += [
                repr(column),
                f"{entry.path} {about.st_mtime_ns} {about.st_size}",
                repr((entry.marks, entry.chosen)),
            ]
    return hashing.of_text("".join(parts))


def write(board: Board) -> int:
    """Bring the models' pages up to date, and return how many were written.

    A page with the current key is not rewritten, so one new result rewrites one page.
    """
    written = 0
    for row in board.rows:
        path = html_page.folder(row.model, row.limit) / "index.html"
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
                key = f"{_version()} {about.st_mtime_ns} {about.st_size}"
                parts[entry.task] = sample_files.write(
                    entry.path.parent, entry.result, key, entry.score
                )
        html_page.put(path, text(row, board, parts) + last.decode())
        written += 1
    return written

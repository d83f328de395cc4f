"""The text and the data of `make status`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from benchy.core.errors import printable
from benchy.core.text import listed
from benchy.display import activity, messages, text_table, units
from benchy.run.status_cells import (
    DONE,
    FAILED,
    MISSING,
    RUNNING,
    STALE,
    WAITING,
    StatusCell,
    note_text,
)

COLOURS = {DONE: "32", RUNNING: "36", WAITING: "33", STALE: "35", FAILED: "31"}
Key = TypeVar("Key", bound=Hashable)


def table(cells: Sequence[StatusCell], width: int, colours: bool) -> Iterator[str]:
    """Yield a table with a row for each model and a column for each task. If it is wider than
    `width` characters, yield a line for each model instead."""
    rows: dict[str, dict[str, StatusCell]] = {}
    for cell in cells:
        rows.setdefault(cell.model, {})[cell.task] = cell
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    lines = [["model", *tasks]]
    states: list[dict[int, str]] = [{}]  # of each line by column
    for model, row in rows.items():
        states.append({column: row[t].state for column, t in enumerate(tasks, 1) if t in row})
        lines.append([model, *(printable(row[t].brief) if t in row else "" for t in tasks)])
    if text_table.width(lines) > width:
        yield from narrow(rows, width)
        return

    def paint(number: int, column: int, text: str) -> str:
        return painted(text, states[number].get(column, "")) if colours else text

    yield from text_table.aligned(lines, range(1, len(lines[0])), paint)


def narrow(rows: dict[str, dict[str, StatusCell]], width: int) -> Iterator[str]:
    for model, row in rows.items():
        counts = Counter(cell.state for cell in row.values())
        busy = [f"{c.task} {c.brief}" for c in row.values() if c.state == RUNNING]
        words = [f"{n} {state}" for state, n in counts.items() if state != RUNNING]
        yield printable(f"{model}: {', '.join([*busy, *words])}")[:width]


def painted(text: str, state: str) -> str:
    return f"\033[{COLOURS[state]}m{text}\033[0m" if state in COLOURS else text


def details(cells: Sequence[StatusCell]) -> Iterator[str]:
    """Yield the details that do not fit the table, and the totals."""
    for cell in cells:
        if cell.state == RUNNING:
            yield f"running  {cell.model}/{cell.task}: {cell.text}"
    for note in activity.notes():
        if note.state == activity.BUILDING:
            yield f"building {note.name}: {note_text(note, time.time())}"
    for text, names in grouped((cell.text, cell) for cell in cells if cell.state == WAITING):
        yield f"waiting  {listed(names)}: for {text}"
    for text, names in grouped((cell.text, cell) for cell in cells if cell.state == STALE):
        yield f"stale    {listed(names)}: {text}"
    failed = (((cell.text, cell.log), cell) for cell in cells if cell.state == FAILED)
    for (text, log), names in grouped(failed):
        yield f"failed   {', '.join(names)}: {text}"
        if log:
            yield f"         log: {log}"
    marked = grouped((doubt, cell) for cell in cells for doubt in cell.doubts)
    for doubt, names in marked:
        yield f"marked   {listed(names)}: {doubt}"
    if any(cell.state == DONE and "*" in cell.brief for cell in cells):
        yield "* served by a fallback: another release than the requested one"
    if marked:
        yield "! marked: read the reason before you trust the score"
    yield sums(cells)


def grouped(rows: Iterable[tuple[Key, StatusCell]]) -> list[tuple[Key, list[str]]]:
    """Return the names of the cells of each key, in the order in which the keys appear."""
    groups: dict[Key, list[str]] = {}
    for key, cell in rows:
        groups.setdefault(key, []).append(f"{cell.model}/{cell.task}")
    return list(groups.items())


def sums(cells: Sequence[StatusCell]) -> str:
    """Return the number of results in each state, and the runs under way with their start."""
    counts = Counter(cell.state for cell in cells)
    states = (DONE, RUNNING, WAITING, STALE, FAILED, MISSING)
    words = [f"{counts[state]} {state}" for state in states if counts[state] or state == DONE]
    runs = [
        f"make of pid {run.pid} on {run.host} since {units.span(time.time() - run.began)}"
        for run in activity.runs()
    ]
    return f"{len(cells)} results: {', '.join(words)}" + "".join(f"; {run}" for run in runs)


def data(cells: Sequence[StatusCell]) -> dict[str, Any]:
    """Return the content of FORMAT=json."""
    counts = Counter(cell.state for cell in cells)
    runs = [
        asdict(run) | {"waiting": dict(run.waiting), "jobs": dict(run.jobs)}
        for run in activity.runs()
    ]
    rows = [asdict(cell) | {"marks": list(cell.marks)} for cell in cells]
    for row in rows:
        del row["doubts"], row["short_score"]  # they are among the marks and the score
    return {"results": rows, "counts": dict(sorted(counts.items())), "runs": runs}


def colours() -> bool:
    return messages.coloured(sys.stdout)

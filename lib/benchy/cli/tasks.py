"""bin/tasks: list the tasks of configs/tasks and of the harness.

With SEARCH, it lists the tasks that match, with output type, shots, data set and tags. Without, it
counts the harness's tasks by folder. task_list.py finds the tasks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchy.config import loader
from benchy.core import paths
from benchy.core.text import shorten
from benchy.display import text_table
from benchy.evaluation import task_list
from benchy.evaluation.task_list import HarnessTasks, Own

NEEDS = {
    "code": "runs code that the model wrote (docs/limits.md)",
    "images": "images in the prompt (docs/limits.md)",
    "audio": "audio in the prompt (docs/limits.md)",
}
KINDS = {
    "task": ("task", "tasks"),
    "python": ("task in Python", "tasks in Python"),
    "group": ("group", "groups"),
    "tag": ("tag", "tags"),
}
MOST = 60  # characters of a cell


def main(argv: list[str]) -> int:
    """Run `bin/tasks [SEARCH]`. Raise ConfigError or Failure."""
    parser = argparse.ArgumentParser(
        prog="bin/tasks", description="List the tasks of configs/tasks and of the harness."
    )
    parser.add_argument(
        "search", nargs="*", default=os.environ.get("SEARCH", "").split(),
        help="words that name, tag, data set, language or description must have; * and ? as in a "
        "shell",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=["text", "json"], default=os.environ.get("FORMAT") or "text"
    )
    args = parser.parse_args(argv)
    words = args.search
    base = loader.ConfigLoader(paths.ROOT)
    ours, harnesses = task_list.all_of(base.configuration())
    if words:
        ours = [own for own in ours if task_list.matches(_row(own), words)]
    matching = [
        HarnessTasks(
            harness.name,
            harness.environment,
            [r for r in harness.rows if task_list.matches(r, words)],
        )
        for harness in harnesses
    ]
    if args.format == "json":
        document = {
            "own": [asdict(own) for own in ours],
            "harness": [asdict(harness) for harness in matching],
        }
        print(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False))
        return 0
    print("\n".join(_text(ours, matching, words)))
    sys.stdout.flush()
    return 0


def _row(own: Own) -> dict[str, Any]:
    """Return the fields of one of our tasks that a search covers."""
    return {**asdict(own), "tags": own.names}


def _text(
    ours: Sequence[Own], harnesses: Sequence[HarnessTasks], words: Sequence[str]
) -> Iterator[str]:
    if ours:
        yield from table(
            ["TASK", "HARNESS TASK", "TASKS", "SHOTS", "OUTPUT", "DESCRIPTION"], map(_ours, ours)
        )
        yield ""
    elif not words:
        yield "configs/tasks has no task yet"
    for own in ours:
        if own.unknown:
            yield f"{own.name}: the harness has no task {', '.join(own.unknown)}"
        for need in own.needs:
            yield f"{own.name}: {NEEDS[need]}"
    for harness in harnesses:
        if words:
            yield from _matches(harness)
        else:
            yield from _families(harness)


def _ours(own: Own) -> list[str]:
    return [
        own.name,
        " ".join(own.names[:2]) + (" …" if len(own.names) > 2 else ""),
        str(own.count or ""),
        _span(own.shots),
        ", ".join(own.output),
        own.description,
    ]


def _span(shots: Sequence[int]) -> str:
    if not shots:
        return ""
    return str(shots[0]) if len(shots) == 1 else f"{shots[0]} - {shots[-1]}"


def _matches(harness: HarnessTasks) -> Iterator[str]:
    by_name = {row["name"]: row for row in harness.rows}
    if not by_name:
        yield f"{harness.name}: nothing matches"
        return
    head = ["NAME", "KIND", "OUTPUT", "SHOTS", "DATA SET", "LANGUAGE", "TAGS"]
    yield from table(head, map(_theirs, harness.rows))
    yield ""
    yield f"{harness.name}: {_counted(harness.rows)}"
    yield "Any of these is a task_name for configs/tasks/NAME.yaml; see docs/own-task.md."


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    kinds = Counter(row["kind"] for row in rows)
    return ", ".join(
        f"{kinds[kind]:,} {singular if kinds[kind] == 1 else plural}"
        for kind, (singular, plural) in KINDS.items()
        if kinds[kind]
    )


def _theirs(row: Mapping[str, Any]) -> list[str]:
    kind = row["kind"]
    if members := row.get("members"):
        kind = f"{kind} of {len(members)}"
    needs = [f"needs {word}" for word in row.get("needs", ())]
    return [
        row["name"], kind, row.get("output", ""), str(row.get("shots", "")),
        row.get("dataset", ""), row.get("language", ""), ", ".join([*needs, *row.get("tags", ())]),
    ]  # fmt: skip


def _families(harness: HarnessTasks) -> Iterator[str]:
    rows = harness.rows
    tasks = [row for row in rows if row["kind"] in ("task", "python")]
    folders = Counter(row.get("family", "") for row in tasks)
    yield (
        f"{harness.name}: {_counted(rows)}, in {len(folders)} folders (with so many tasks in each):"
    )
    yield ""
    yield from columns([f"{folder} {count}" for folder, count in sorted(folders.items())])
    yield ""
    yield "make tasks SEARCH=spanish        by name, tag, data set, language, description"
    yield "make tasks SEARCH='*_es multiple'  several words must all match; * and ? as in a shell"


def columns(words: Sequence[str]) -> Iterator[str]:
    """Yield lines with the words in columns, filled downward, for the width of the terminal (100
    characters if unknown)."""
    wide = max(map(len, words), default=0) + 2
    across = max(1, shutil.get_terminal_size((100, 24)).columns // wide)
    down = -(-len(words) // across)
    for n in range(down):
        yield "".join(word.ljust(wide) for word in words[n::down]).rstrip()


def table(head: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    """Yield the lines of an aligned table. Long cells are cut, except in the first column."""
    cells = [list(head)]
    for name, *rest in rows:
        cells.append([name, *(shorten(t, MOST) for t in rest)])
    # Empty columns are left out.
    used = [n for n in range(len(head)) if any(row[n] for row in cells[1:])]
    yield from text_table.aligned([[row[n] for n in used] for row in cells])

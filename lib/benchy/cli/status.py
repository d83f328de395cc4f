"""bin/status: show the state of each result."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence

from benchy.core.errors import printable
from benchy.core.knobs import knob
from benchy.plan.selection import graph_for
from benchy.run import status as status_module
from benchy.run.status import Cell, Status


def screenful(cells: Sequence[Cell], columns: int, lines: int) -> list[str]:
    """Return what fits on a terminal, in at most `lines` lines. Running models come first, then
    failed, waiting, stale, missing and done ones."""
    order = (
        status_module.RUNNING,
        status_module.FAILED,
        status_module.WAITING,
        status_module.STALE,
        status_module.MISSING,
        status_module.DONE,
    )
    best: dict[str, int] = {}
    for cell in cells:
        best[cell.model] = min(best.get(cell.model, 9), order.index(cell.state))
    sorted_cells = sorted(cells, key=lambda cell: best[cell.model])
    told = map(printable, status_module.details(cells))
    wrapped = (textwrap.wrap(line, columns, subsequent_indent=" " * 9) for line in told)
    tail = [piece for pieces in wrapped for piece in pieces][-max(4, lines // 2) :]
    rows = list(status_module.table(sorted_cells, columns, status_module.colours()))
    room = lines - len(tail) - 2
    if len(rows) > room:
        rows[room - 1 :] = [f"… and {len(rows) - room + 1} more models"]
    return [*rows, "", *tail]


def watch(status: Status) -> int:
    """Show the status until Ctrl-C."""
    try:
        while True:
            size = shutil.get_terminal_size()
            lines = screenful(status.cells(), size.columns, size.lines)
            print("\033[H\033[J" + "\n".join(lines), end="", flush=True)
            time.sleep(status_module.PAUSE)
    except KeyboardInterrupt:
        print()
        return 0


def main(argv: list[str]) -> int:
    """Run `bin/status [--format json | --watch]`; knobs select the results. Raise UsageError."""
    parser = argparse.ArgumentParser(
        prog="bin/status",
        description="What each result is at. The knobs MODELS, TASKS, LIMIT and CONFIG choose.",
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--watch", action="store_true", help="show it anew until Ctrl-C")
    args = parser.parse_args(argv)
    status = Status(
        graph_for("eval" if os.environ.get("CONFIG") else "results"),
        ["*"] if os.environ.get("CONFIG") else knob("MODELS"),
        knob("TASKS"),
    )
    if args.watch and sys.stdout.isatty():
        return watch(status)
    cells = status.cells()
    if args.format == "json":
        print(json.dumps(status_module.data(cells), indent=1, ensure_ascii=False))
        return 0
    if not cells:
        print("there is no model yet: copy one of configs/templates/ to configs/")
        return 0
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1 << 16
    print("\n".join([*status_module.table(cells, columns, status_module.colours()), ""]))
    for line in status_module.details(cells):
        print(printable(line))
    return 0

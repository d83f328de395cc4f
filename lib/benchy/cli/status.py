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
from benchy.run import status_text
from benchy.run.status import Status
from benchy.run.status_cells import DONE, FAILED, MISSING, RUNNING, STALE, WAITING, StatusCell

PAUSE = 2.0  # seconds between looks at the board


def screenful(cells: Sequence[StatusCell], columns: int, lines: int) -> list[str]:
    """Return what fits on a terminal, in at most `lines` lines. Running models come first, then
    failed, waiting, stale, missing and done ones."""
    order = (RUNNING, FAILED, WAITING, STALE, MISSING, DONE)
    best: dict[str, int] = {}
    for cell in cells:
        best[cell.model] = min(best.get(cell.model, 9), order.index(cell.state))
    sorted_cells = sorted(cells, key=lambda cell: best[cell.model])
    lines_below = map(printable, status_text.details(cells))
    wrapped = (textwrap.wrap(line, columns, subsequent_indent=" " * 9) for line in lines_below)
    tail = [piece for pieces in wrapped for piece in pieces][-max(4, lines // 2) :]
    rows = list(status_text.table(sorted_cells, columns, status_text.colours()))
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
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        print()
        return 0


def main(argv: list[str]) -> int:
    """Run `bin/status [--format json | --watch]`; knobs select the results. Raise UsageError."""
    parser = argparse.ArgumentParser(
        prog="bin/status",
        description="Show the state of each result that MODELS, TASKS, LIMIT and CONFIG select.",
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--watch", action="store_true", help="refresh it until Ctrl-C")
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
        print(json.dumps(status_text.data(cells), indent=1, ensure_ascii=False))
        return 0
    if not cells:
        print("there is no model yet: copy one of configs/templates/ to configs/")
        return 0
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1 << 16
    print("\n".join([*status_text.table(cells, columns, status_text.colours()), ""]))
    for line in status_text.details(cells):
        print(printable(line))
    return 0
